"""The DAG that asks a large evaluation set in mapped tasks, read without Airflow."""

from __future__ import annotations

import argparse
import ast
import re

from bot.commands import evaluate
from bot.sandbox.airflow import MANIFESTS

TREE = ast.parse((MANIFESTS / "dags/promobot_evaluate.py").read_text())


def test_one_task_is_mapped_over_the_parts() -> None:
    (expand,) = (
        node
        for node in ast.walk(TREE)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "expand"
    )
    assert ast.unparse(expand) == "ask.expand(part=parts())"


def test_a_task_types_what_the_command_understands() -> None:
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    known = {option for action in parser._actions for option in action.option_strings}
    required = {action.option_strings[0] for action in parser._actions if action.required and action.option_strings}
    (command,) = (
        node.value
        for node in ast.walk(TREE)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "command"
    )
    typed = [node.value for node in ast.walk(command) if isinstance(node, ast.Constant)]
    flags = {word for word in typed if isinstance(word, str) and word.startswith("--")}
    assert required <= flags <= known | {"--root", "--json"}
    assert "evaluate" in typed


def test_the_form_of_a_loaded_version_is_the_commands() -> None:
    (pattern,) = (
        str(ast.literal_eval(node.value))
        for node in ast.walk(TREE)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "LOADED"
    )
    loaded = f"sha256:{'0' * 64}@triton:8001/churn/7"
    for text in (loaded, loaded.replace(":8001", ""), loaded.replace("/7", "/0"), "churn/7"):
        assert bool(re.search(pattern, text)) == bool(evaluate._LOADED.fullmatch(text)), text
