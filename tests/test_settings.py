"""Environment files: each rule, and where a mistake is."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bot import environment_files, settings
from bot.credentials import Credentials
from bot.domain import desired
from bot.domain.path import Rule
from bot.errors import InvalidInput, Refused
from bot.platform import Platform
from bot.settings import Bake, Environment, RolloutRules

PROJECT = Path(__file__).parents[1]
FILE = "manifests/environments/dev.yaml"
GOOD = (PROJECT / FILE).read_text()

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write the environment file of ``dev``; return the checkout."""

    def write(text: str) -> Path:
        path = tmp_path / FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
        return tmp_path

    return write


def changed(old: str, new: str) -> str:
    assert GOOD.count(old) >= 1, old
    return GOOD.replace(old, new, 1)


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1


@pytest.mark.parametrize("name", environment_files.environments(PROJECT))
def test_the_committed_files_are_right(name: str) -> None:
    loaded = environment_files.load(PROJECT, name)
    assert loaded.environment == name
    text = (PROJECT / desired.path_of(name)).read_text()
    assert desired.parse(text, file=desired.path_of(name), environment=name).environment == name


def test_what_is_left_out_has_its_default(write: Write) -> None:
    dev = environment_files.load(write(GOOD), "dev")
    assert dev.github.server_url == "https://github.com"
    assert dev.github.clone_url == "https://github.com/acme/models.git"
    assert dev.packages.backends == ["onnxruntime"]
    assert dev.deadlines.ready_seconds == 120
    assert dev.gates["churn"].on_miss == "shadow"
    assert dev.gates["churn"].metrics["accuracy"].minimum == 0.9
    assert (dev.promotes_from, dev.freezes, dev.merge) == (None, [], None)


SET = f"sha256:{'5' * 64}"
"""The digest of an evaluation set."""


def evaluated(more: str) -> str:
    """Return settings in which churn is measured, as the beginning of what comes before its gate."""
    return f"evaluation: {{churn: {{digest: '{SET}', {more}}}}}\ngates:\n"


TRITON = "  - name: triton-0\n    grpc: triton-0.triton.ml-dev.svc:8001\n    control_key_env: PROMOBOT_TRITON_KEY\n"
MINIMUM = "minimum: 0.90"
RECORDS = "records: /mnt/nfs_share/mlops/promobot-records"
FREEZES = "\nfreezes:\n  - start: {start}\n    end: {end}\n    reason: Christmas\n"


@pytest.mark.parametrize(
    ("old", "new", "key", "says"),
    [
        # keys and types
        ("environment: dev", "environment: prod", "environment", "says 'prod', but the file is that of 'dev'"),
        ("environment: dev", "environment: Dev", "environment", "not a valid environment name"),
        ("slack:\n", "slcak:\n", None, "slcak: unknown key"),
        ("  channel: C0MLRELEASES", "  chanel: C0MLRELEASES", None, "slack.chanel: unknown key"),
        ("  channel: C0MLRELEASES", "  channel: '#ml-releases'", "slack.channel", "it must match "),
        ("  repository: acme/models", "  repository: acme", "github.repository", "it must match "),
        ("  repository: acme/models", "  repository: a/../b", "github.repository", "it must match "),
        ("  repository: acme/models", "  repository: ../..", "github.repository", "it must match "),
        ("  repository: acme/models", "  repository: acme/..", "github.repository", "it must match "),
        (
            "  repository: acme/models",
            "  repository: acme/models\n  base: --upload-pack=x",
            "github.base",
            "it must match ",
        ),
        # addresses and paths
        ("uri: http://mlflow.mlops.svc:5000", "uri: file:///mlruns", "mlflow.uri", "http:// or https://"),
        ("uri: http://mlflow.mlops.svc:5000", "uri: mlflow:5000", "mlflow.uri", "http:// or https://"),
        ("uri: http://mlflow.mlops.svc:5000", "uri: 'http://'", "mlflow.uri", "http:// or https://"),
        ("uri: http://mlflow.mlops.svc:5000", "uri: 'http://a b'", "mlflow.uri", "http:// or https://"),
        ("uri: http://mlflow.mlops.svc:5000", "uri: 'http://a/?x'", "mlflow.uri", "http:// or https://"),
        ("uri: http://mlflow.mlops.svc:5000", "uri: 5000", "mlflow.uri", "it needs a text, not 5000"),
        ("records: /mnt/", "records: mnt/", "records", "is not an absolute path"),
        ("records: /mnt/", "records: /mnt/../../", "records", "is not an absolute path"),
        ("records: /mnt/nfs_share/mlops/promobot-records", "records: /..", "records", "is not an absolute path"),
        ("records: /mnt/nfs_share/mlops/promobot-records", 'records: "/a\\0b"', "records", "is not an absolute path"),
        ("records: /mnt/nfs_share/mlops/promobot-records", 'records: "/a\\nb"', "records", "is not an absolute path"),
        (RECORDS, "records: s3://mlops/dev", "records", "written as a mapping: records: {s3: {bucket: mlops}}"),
        (RECORDS, "records: 5", "records", "it needs a text, not 5"),
        (RECORDS, "records: {s4: {}}", None, "records.s4: unknown key"),
        (RECORDS, "records: {s3: {bucket: B}}", "records.s3.bucket", "it must match "),
        (RECORDS, "records: {s3: {bucket: mlops, key: x}}", "records.s3.key", "unknown key"),
        (RECORDS, "records: {s3: {bucket: mlops, prefix: ../prod}}", "records.s3.prefix", "it must match "),
        (RECORDS, "records: {s3: {bucket: mlops, prefix: /dev}}", "records.s3.prefix", "it must match "),
        (RECORDS, "records: {s3: {bucket: mlops, region: A B}}", "records.s3.region", "it must match "),
        (RECORDS, "records: {s3: {bucket: mlops, endpoint: s3:9000}}", "records.s3.endpoint", "http:// or https://"),
        (
            RECORDS,
            "records: {s3: {bucket: mlops, endpoint: 'http://me:secret@s3'}}",
            "records.s3.endpoint",
            "secrets belong into environment variables",
        ),
        (RECORDS, "records: {s3: {bucket: mlops, access_key_id_env: A}}", "records.s3", "belong together"),
        (RECORDS, "records: {s3: {bucket: mlops, session_token_env: A}}", "records.s3", "session_token_env needs"),
        (
            RECORDS,
            "records: {s3: {bucket: mlops, access_key_id_env: AKIAIOSFODNN7ex}}",
            "records.s3.access_key_id_env",
            "it must match ",
        ),
        (
            RECORDS,
            "records: {s3: {bucket: mlops, object_lock: {days: 0}}}",
            "records.s3.object_lock.days",
            "it must be more than 0",
        ),
        (
            RECORDS,
            "records: {s3: {bucket: mlops, object_lock: {mode: forever, days: 1}}}",
            "records.s3.object_lock.mode",
            "'governance' or 'compliance'",
        ),
        ("    name: staging", "    name: ../staging", "staging.triton.name", "it must match "),
        ("grpc: triton-staging.mlops.svc:8001", "grpc: http://triton:8001", "staging.triton.grpc", "it must match "),
        ("grpc: triton-staging.mlops.svc:8001", "grpc: triton", "staging.triton.grpc", "it must match "),
        ("/staging/promobot", "/staging/model-repo", "staging.share", "must not lie within each other"),
        (
            "/staging/promobot",
            "/staging/model-repo/x",
            "staging.share",
            "must not lie within each other",
        ),
        ("/staging/promobot", "/staging", "staging.share", "must not lie within each other"),
        # lists
        (TRITON, "  []\n", "tritons", "it needs at least 1 entry"),
        ("  - name: gateway-1", "  - name: gateway-0", "", "two gateways are named gateway-0"),
        ("  - name: gateway-1", "  - title: gateway-1", None, "2 mistakes"),
        ("gates:\n", "promotes_from: dev\ngates:\n", "", "promotes_from names the environment itself"),
        ("gates:\n", "promotes_from: ../x\ngates:\n", "promotes_from", "not a valid environment name"),
        ("gates:\n", "merge: {when: always}\ngates:\n", "merge.when", "it must be 'checks pass'"),
        ("gates:\n", "merge: {when: checks pass, after_clean: 0}\ngates:\n", "merge.after_clean", "at least 1"),
        ("gates:\n", "merge: {when: checks pass, after: 5}\ngates:\n", "merge.after", "unknown key"),
        # names
        ("gates:\n", "mlflow_names: {churn: a/b}\ngates:\n", "mlflow_names.churn", "none of them /, : or a control"),
        ("gates:\n", "mlflow_names: {Churn: a}\ngates:\n", "mlflow_names.Churn", "not a valid model name"),
        (
            "gates:\n",
            "mlflow_names: {a: Model, b: Model}\ngates:\n",
            "mlflow_names",
            "a and b are both 'Model' in MLflow",
        ),
        ("gates:\n", "mlflow_names: {a: churn}\ngates:\n", "mlflow_names", "a and churn are both 'churn' in MLflow"),
        # gates
        ("  churn:\n", "  '*':\n", None, "`default` is the gate of every model that no other fits"),
        ("  churn:\n", "  Fraud-*:\n", "gates.Fraud-*", "not a valid pattern of model names"),
        ("  churn:\n", "  churn-shadow:\n", "gates.churn-shadow", "kept for the shadow path"),
        ("  churn:\n", "  Churn:\n", "gates.Churn", "not a valid model name"),
        ("on_miss: shadow", "on_miss: ship", "gates.churn.on_miss", "'shadow' or 'stop'"),
        (MINIMUM, "minimun: 0.90", "gates.churn.metrics.accuracy.minimun", "unknown key"),
        (MINIMUM, "minimum: '0.90'", "gates.churn.metrics.accuracy.minimum", "it needs a "),
        (MINIMUM, "minimum: nan", "gates.churn.metrics.accuracy.minimum", "it needs a "),
        (MINIMUM, "minimum: 1e999", "gates.churn.metrics.accuracy.minimum", "it needs a "),
        (MINIMUM, "minimum: .inf", "gates.churn.metrics.accuracy.minimum", "it needs a "),
        (MINIMUM, "minimum: true", "gates.churn.metrics.accuracy.minimum", "it needs a "),
        (
            "max_regression: 0.01",
            "max_regression: -1",
            "gates.churn.metrics.accuracy.max_regression",
            "it must be at least",
        ),
        ("{maximum: 0.40, lower", "{lower", "gates.churn.metrics.log_loss", "needs a minimum"),
        (
            "lower_is_better: true",
            "lower_is_better: yes",
            "gates.churn.metrics.log_loss.lower_is_better",
            "it needs true or false",
        ),
        ("latency_budget_milliseconds: 50", "latency_budget_milliseconds: 0", None, "it must be more than 0"),
        (
            "max_regression: 0.01",
            "max_regression: 0.01, confidence: 1",
            "gates.churn.metrics.accuracy.confidence",
            "it must be less than 1",
        ),
        (
            "max_regression: 0.01",
            "confidence: 0.95",
            "gates.churn.metrics.accuracy",
            "confidence needs a max_regression",
        ),
        (
            "latency_budget_milliseconds: 50",
            "slices: {by: [region]}",
            "gates.churn.slices",
            "needs a max_regression, or one for a metric",
        ),
        (
            "latency_budget_milliseconds: 50",
            "slices: {by: [region], metrics: {auc: 0.1}}",
            "gates.churn",
            "slices.metrics names auc, which the gate's metrics do not have",
        ),
        (
            "latency_budget_milliseconds: 50",
            "slices: {by: [region, region], max_regression: 0.1}",
            "gates.churn.slices.by",
            "it names region twice",
        ),
        ("latency_budget_milliseconds: 50", "latency: {p95: 1}", "gates.churn.latency.p95", "unknown key"),
        ("latency_budget_milliseconds: 50", "on_unknown: shadow", "gates.churn.on_unknown", "'stop' or 'pass'"),
        # bundles
        ("gates:\n", "bundles: {fraud: [a]}\ngates:\n", "bundles.fraud", "a bundle has two parts at least"),
        ("gates:\n", "bundles: {fraud: [a, a]}\ngates:\n", "bundles.fraud", "two parts are named a"),
        ("gates:\n", "bundles: {fraud: [a, B]}\ngates:\n", None, "not a valid model name"),
        ("gates:\n", "bundles: {x: [a, b], y: [c, b]}\ngates:\n", "bundles", "b is a part of x and of y"),
        # evaluation sets
        ("gates:\n", "evaluation: {churn: {from: 'runs:/r/x'}}\ngates:\n", None, "churn.digest: is missing"),
        ("gates:\n", f"evaluation: {{churn: {{digest: '{SET}'}}}}\ngates:\n", "evaluation.churn", "one of the two"),
        ("gates:\n", evaluated("from: 'runs:/r'"), "evaluation.churn.from", "is not runs:/<run>/<path>"),
        ("gates:\n", evaluated("from: 'runs:/r/../x'"), "evaluation.churn.from", "is not runs:/<run>/<path>"),
        ("gates:\n", evaluated("from: 's3://b/x'"), "evaluation.churn.from", "a bucket is written as s3: {bucket:"),
        ("gates:\n", evaluated("s3: {bucket: mlops}"), None, "evaluation.churn.s3.prefix: is missing"),
        ("gates:\n", evaluated("s3: {bucket: mlops, prefix: ../x}"), "evaluation.churn.s3.prefix", "it must match"),
        ("gates:\n", evaluated("from: 'runs:/r/x', s3: {bucket: mlops, prefix: x}"), "evaluation.churn", "the two"),
        ("gates:\n", evaluated("from: 'runs:/r/x', threshold: 1"), "evaluation.churn.threshold", "it must be less"),
        ("gates:\n", evaluated("from: 'runs:/r/x', batch_rows: 0"), "evaluation.churn.batch_rows", "at least 1"),
        ("gates:\n", evaluated("from: 'runs:/r/x', costs: {}"), "evaluation.churn.costs", "or per_unit"),
        (
            "gates:\n",
            evaluated("from: 'runs:/r/x', costs: {false_positive: 1}"),
            "evaluation.churn.costs",
            "belong together",
        ),
        ("gates:\n", "evaluation: {'*': {}}\ngates:\n", None, "`default` is the gate of every model"),
        # rollouts
        ("gates:\n", "rollout: {churn: {steps: []}}\ngates:\n", "rollout.churn.steps", "at least 1"),
        ("gates:\n", "rollout: {churn: {steps: [1, 10]}}\ngates:\n", "rollout.churn.steps", "the last is 100"),
        ("gates:\n", "rollout: {churn: {steps: [10, 10, 100]}}\ngates:\n", "rollout.churn.steps", "the steps rise"),
        (
            "gates:\n",
            "rollout: {churn: {steps: [10, 100], replace: in place}}\ngates:\n",
            "rollout.churn",
            "steps need both versions on every Triton",
        ),
        (
            "gates:\n",
            "rollout: {churn: {bake: {max_flips: 0.02}, replace: in place}}\ngates:\n",
            "rollout.churn",
            "max_flips needs both versions on every Triton",
        ),
        ("gates:\n", "rollout: {churn: {steps: [0, 100]}}\ngates:\n", None, "it must be at least 1"),
        ("gates:\n", "rollout: {churn: {steps: [0.5, 100]}}\ngates:\n", None, "it needs a whole number"),
        ("gates:\n", "rollout: {churn: {steps: [true, 100]}}\ngates:\n", None, "it needs a whole number"),
        ("gates:\n", "rollout: {churn: {key: X-User}}\ngates:\n", "rollout.churn.key", "a header in lower case"),
        ("gates:\n", "rollout: {churn: {bake: {minutes: 0}}}\ngates:\n", "rollout.churn.bake.minutes", "more than 0"),
        ("gates:\n", "rollout: {churn: {bake: {every: 5}}}\ngates:\n", "rollout.churn.bake.every", "unknown key"),
        (
            "gates:\n",
            "rollout: {churn: {bake: {max_error_rate: 1}}}\ngates:\n",
            "rollout.churn.bake.max_error_rate",
            "it must be less than 1",
        ),
        (
            "gates:\n",
            "rollout: {churn: {bake: {on_breach: ignore}}}\ngates:\n",
            "rollout.churn.bake.on_breach",
            "'put back' or 'tell'",
        ),
        ("gates:\n", "rollout: {Churn: {}}\ngates:\n", None, "not a valid model name"),
        # recordings
        ("gates:\n", "recordings: {directory: /r}\ngates:\n", None, "recordings.replay: is missing"),
        ("gates:\n", "recordings: {directory: /r, replay: {}}\ngates:\n", "recordings.replay", "at least 1"),
        ("gates:\n", "recordings: {replay: {churn: 5}}\ngates:\n", "recordings", "one of the two"),
        ("gates:\n", "recordings: {directory: r, replay: {churn: 5}}\ngates:\n", "recordings.directory", "absolute"),
        (
            "gates:\n",
            "recordings: {directory: /r, replay: {churn: 0}}\ngates:\n",
            "recordings.replay.churn",
            "at least 1",
        ),
        # times
        ("gates:\n", "deadlines: {ready_seconds: 0}\ngates:\n", "deadlines.ready_seconds", "it must be more than 0"),
        ("gates:\n", "deadlines: {ready_seconds: '9'}\ngates:\n", "deadlines.ready_seconds", "it needs a "),
        ("gates:\n", "deadlines: {ready: 9}\ngates:\n", "deadlines.ready", "unknown key"),
        ("gates:\n", "packages: {backends: []}\ngates:\n", "packages.backends", "it needs at least 1 entry"),
        (
            "gates:\n",
            "packages: {max_bytes: 1.5}\ngates:\n",
            "packages.max_bytes",
            "it needs a whole number, not 1.5",
        ),
        # secrets are not here
        ("  channel:", "  token_env: xoxb-1-secret\n  channel:", "slack.token_env", "it must match "),
        ("  channel:", "  token: xoxb-1-secret\n  channel:", "slack.token", "unknown key"),
    ],
)
def test_a_mistake_is_named_with_file_line_and_key(
    old: str, new: str, key: str | None, says: str, write: Write
) -> None:
    text = changed(old, new)
    with pytest.raises(InvalidInput) as refused:
        environment_files.load(write(text), "dev")
    assert refused.value.file == FILE
    assert says in str(refused.value)
    if key:
        assert refused.value.key == key
        last = key.split(".")[-1]
        assert f"{last}:" in text.splitlines()[(refused.value.line or 0) - 1]


def test_a_list_item_is_named_by_its_number(write: Write) -> None:
    text = changed("url: http://gateway-1.", "url: gateway-1.")
    with pytest.raises(InvalidInput) as refused:
        environment_files.load(write(text), "dev")
    assert refused.value.key == "gateways.1.url"
    assert refused.value.line == line_of(text, "url: gateway-1.")


def test_a_password_in_an_address_is_refused_and_not_repeated(write: Write) -> None:
    text = changed("uri: http://mlflow", "uri: http://bot:hunter2hunter2@mlflow")
    with pytest.raises(InvalidInput) as refused:
        environment_files.load(write(text), "dev")
    assert refused.value.key == "mlflow.uri"
    assert "environment variables" in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("start", "end", "says"),
    [
        ("2026-12-24T00:00:00", "2026-12-27T00:00:00+01:00", "time zone"),
        ("2026-12-24", "2026-12-27", "time zone"),
        ("2026-12-27T00:00:00+01:00", "2026-12-24T00:00:00+01:00", "ends before it starts"),
        ("2026-12-24T00:00:00+01:00", "2026-12-24T00:00:00+01:00", "ends before it starts"),
        ("0", "1", "it needs a time with its zone"),
        ("'0'", "'1'", "it needs a time with its zone"),
        ("Christmas", "2026-12-24T00:00:00+01:00", "it needs a time with its zone"),
        ("true", "2026-12-24T00:00:00+01:00", "it needs a time with its zone"),
    ],
)
def test_a_freeze_that_is_none(start: str, end: str, says: str, write: Write) -> None:
    with pytest.raises(InvalidInput) as refused:
        environment_files.load(write(GOOD + FREEZES.format(start=start, end=end)), "dev")
    assert says in str(refused.value)
    assert "freezes.0" in str(refused.value)


def test_a_freeze_knows_its_time_zone(write: Write) -> None:
    text = GOOD + FREEZES.format(start="2026-12-24T00:00:00+01:00", end="'2026-12-27T00:00:00Z'")
    (freeze,) = environment_files.load(write(text), "dev").freezes
    assert freeze.start == datetime(2026, 12, 23, 23, tzinfo=UTC)
    assert freeze.end - freeze.start == timedelta(days=3, hours=1)


@pytest.mark.parametrize(
    ("given", "key", "says"),
    [
        ("{environment: test, after: soon}", "promotes_from.after", "'soon' is not a time, as in 30m, 24h or 7d"),
        ("{environment: test, when: baking}", "promotes_from.when", "it must be 'verified' or 'baked'"),
        ("{after: 24h}", "promotes_from.environment", "is missing"),
        ("{environment: dev}", "", "promotes_from names the environment itself"),
    ],
)
def test_a_path_that_is_none_is_named_with_its_key(given: str, key: str, says: str, write: Write) -> None:
    with pytest.raises(InvalidInput) as refused:
        environment_files.load(write(f"{GOOD}\npromotes_from: {given}\n"), "dev")
    assert (refused.value.key or "", says in refused.value.problem) == (key, True), refused.value


def test_a_path_is_read(write: Write) -> None:
    settings = environment_files.load(write(f"{GOOD}\npromotes_from: {{environment: test, after: 36h}}\n"), "dev")
    assert (settings.source, settings.path) == ("test", Rule("test", timedelta(hours=36), "verified"))
    plain = environment_files.load(write(f"{GOOD}\npromotes_from: test\n"), "dev")
    assert (plain.source, plain.path) == ("test", None), "only people carry"


@pytest.mark.parametrize(
    ("window", "says"),
    [
        ("Mon-Thu 10:00-16:00", "'Mon-Thu 10:00-16:00' is not a window, as in Mon-Thu 10:00-16:00 Asia/Seoul"),
        ("Mon 10:00-16:00 Asia/Soul", "'Asia/Soul' is not a time zone, as in Asia/Seoul, Europe/Berlin or UTC"),
    ],
)
def test_a_window_that_is_none_is_named_with_its_line_and_an_example(window: str, says: str, write: Write) -> None:
    with pytest.raises(InvalidInput) as refused:
        environment_files.load(write(f"{GOOD}\nwindows:\n  - Fri 22:00–02:00 Asia/Seoul\n  - {window}\n"), "dev")
    assert refused.value.line == GOOD.count("\n") + 4
    assert (refused.value.key, refused.value.problem) == ("windows.1", says)


def test_all_mistakes_are_named_at_once(write: Write) -> None:
    text = changed("on_miss: shadow", "on_miss: ship").replace("records: /", "records: ")
    with pytest.raises(InvalidInput) as refused:
        environment_files.load(write(text), "dev")
    for part in (
        "2 mistakes",
        f":{line_of(text, 'records:')}: records: ",
        f":{line_of(text, 'on_miss')}: gates.churn",
    ):
        assert part in str(refused.value)


@pytest.mark.parametrize("text", ["", "- a\n", "just text", "environment: dev\n---\nenvironment: dev\n", "a: &a b\n"])
def test_what_is_no_plain_mapping(text: str, write: Write) -> None:
    with pytest.raises(InvalidInput) as refused:
        environment_files.load(write(text), "dev")
    assert (refused.value.file, refused.value.line) == (FILE, 2 if "---" in text else 1)


@pytest.mark.parametrize("name", ["../dev", "dev/../dev", "", ".", "DEV", "dev.yaml", "dev\n", "/etc/passwd"])
def test_a_name_that_is_no_environment_reads_no_file(name: str, write: Write) -> None:
    with pytest.raises(InvalidInput, match="not a valid environment name"):
        environment_files.load(write(GOOD), name)


def test_a_file_that_is_not_there_lists_those_that_are(write: Write) -> None:
    root = write(GOOD)
    with pytest.raises(InvalidInput, match="no such file") as refused:
        environment_files.load(root, "prod")
    assert refused.value.next_step == "Environments: dev."
    assert environment_files.environments(root) == ["dev"]


def test_a_folder_that_is_no_checkout_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"there is no manifests/environments/") as refused:
        environment_files.environments(tmp_path)
    assert "--root" in refused.value.next_step


def test_what_cannot_be_read_is_said(write: Write, tmp_path: Path) -> None:
    root = write(GOOD)
    (root / FILE).write_bytes(b"environment: \xff\n")
    with pytest.raises(InvalidInput, match="is not UTF-8: byte 13 belongs to no character"):
        environment_files.load(root, "dev")
    (root / FILE).unlink()
    (root / FILE).mkdir()
    with pytest.raises(InvalidInput, match="cannot be read: Is a directory"):
        environment_files.load(root, "dev")


def test_a_model_without_a_gate_is_refused(write: Write) -> None:
    dev = environment_files.load(write(GOOD), "dev")
    assert dev.gate("churn").metrics
    with pytest.raises(Refused, match="has no gate for fraud") as refused:
        dev.gate("fraud")
    assert "gates.fraud" in refused.value.next_step


def test_secrets_come_by_the_name_of_a_variable(write: Write) -> None:
    dev = environment_files.load(write(changed("  channel:", "  token_env: OUR_SLACK\n  channel:")), "dev")
    assert dev.slack.token_env == "OUR_SLACK"
    held = Credentials({"OUR_SLACK": "xoxb-1"})
    assert held.secret(dev.slack.token_env, purpose="the bot's token") == "xoxb-1"
    assert "xoxb" not in repr(dev)
    for variables in ({}, {"OUR_SLACK": ""}):
        with pytest.raises(Refused, match=r"OUR_SLACK is not set; it holds the bot's token") as refused:
            Credentials(variables).secret(dev.slack.token_env, purpose="the bot's token")
        assert "OUR_SLACK" in refused.value.next_step


def test_settings_are_not_changed_by_anybody(write: Write) -> None:
    dev = environment_files.load(write(GOOD), "dev")
    with pytest.raises(ValueError, match="frozen"):
        dev.environment = "prod"  # type: ignore[misc]
    assert isinstance(dev, Environment)


@pytest.mark.parametrize(
    ("grpc", "address", "expected"),
    [
        ("tritons.svc:8001", "10.0.0.1", ("triton-10.0.0.1", "10.0.0.1:8001")),
        ("tritons.svc:8001", "fd00::1", ("triton-fd00::1", "[fd00::1]:8001")),
    ],
)
def test_one_triton_of_several(grpc: str, address: str, expected: tuple[str, str]) -> None:
    several = settings.Tritons(name="triton", grpc=grpc, every_address=True)
    one = several.at(address)
    assert (several.host, (one.name, one.grpc), one.every_address) == ("tritons.svc", expected, False)
    assert one.http is None
    with_http = settings.Tritons(name="triton", grpc=grpc, http="tritons.svc:8000", every_address=True).at(address)
    assert with_http.http == expected[1].replace("8001", "8000")


@pytest.mark.parametrize(
    ("url", "address", "expected"),
    [
        ("http://gateways.svc:8080", "10.0.0.1", "http://10.0.0.1:8080"),
        ("https://gateways.svc/ml", "fd00::1", "https://[fd00::1]/ml"),
    ],
)
def test_one_gateway_of_several(url: str, address: str, expected: str) -> None:
    several = settings.GatewayEndpoint(name="gateway", url=url, every_address=True)
    one = several.at(address)
    assert (several.host, one.name, one.url) == ("gateways.svc", f"gateway-{address}", expected)


def test_records_lie_in_a_directory_or_in_a_folder_of_a_bucket_by_environment() -> None:
    here = environment_files.parse(GOOD, file="f", environment="dev")
    assert (here.records, here.records_bucket) == ("/mnt/nfs_share/mlops/promobot-records", None)
    text = changed(RECORDS, "records: {s3: {bucket: mlops}}")
    bucket = environment_files.parse(text, file="f", environment="dev").records_bucket
    assert bucket is not None
    assert (bucket.bucket, bucket.prefix, bucket.region) == ("mlops", "dev/promobot", "ap-northeast-2")
    assert (bucket.endpoint, bucket.object_lock, Credentials(os.environ).of_bucket(bucket, of="a test")) == (
        None,
        None,
        {},
    )
    text = changed(RECORDS, "records: {s3: {bucket: mlops, prefix: records/all, object_lock: {days: 9}}}")
    bucket = environment_files.parse(text, file="f", environment="dev").records_bucket
    assert bucket is not None and bucket.object_lock is not None
    assert (bucket.prefix, bucket.object_lock.mode, bucket.object_lock.days) == ("records/all", "governance", 9)


@pytest.mark.parametrize(
    ("records", "missing"),
    [
        ("{}", "s3"),
        ("{s3: {prefix: dev}}", "s3.bucket"),
        ("{s3: {bucket: mlops, object_lock: {}}}", "s3.object_lock.days"),
    ],
)
def test_what_is_missing_of_a_bucket_is_named(records: str, missing: str) -> None:
    text = changed(RECORDS, f"records: {records}")
    with pytest.raises(InvalidInput) as failure:
        environment_files.parse(text, file="f", environment="dev")
    assert str(failure.value) == f"f:{line_of(text, 'records:')}: records.{missing}: is missing"


def test_credentials_come_from_the_variables_that_are_named() -> None:
    names = {"access_key_id_env": "KEY_ID", "secret_access_key_env": "KEY", "session_token_env": "SESSION_TOKEN"}
    bucket = settings.Bucket(bucket="mlops", **names)
    held = {name: f"the {name}" for name in names.values()}
    assert Credentials(held).of_bucket(bucket, of="a test") == {
        "aws_access_key_id": "the KEY_ID",
        "aws_secret_access_key": "the KEY",
        "aws_session_token": "the SESSION_TOKEN",
    }
    del held["SESSION_TOKEN"]
    with pytest.raises(Refused, match="SESSION_TOKEN is not set; it holds the session token of a test"):
        Credentials(held).of_bucket(bucket, of="a test")


# --- the way back --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("on_miss: shadow", "on_miss: reject", ["gates.churn.on_miss: it must be 'shadow' or 'stop'"]),
        ("on_miss: shadow", "on_miss: 1\n    hit: 2", ["gates.churn.on_miss", "gates.churn.hit: unknown key"]),
        ("gates:\n", "freeze: Christmas\ngates:\n", ["freeze: unknown key"]),
        ("gates:\n", "freezes: Christmas\ngates:\n", ["freezes: it needs a list"]),
        ("gates:\n", "windows: [Mon 10-16]\ngates:\n", ["windows.0: 'Mon 10-16' is not a window, as in Mon-Thu "]),
        ("gates:\n", "deadlines: {load_seconds: 0}\ngates:\n", ["deadlines.load_seconds: it must be"]),
        ("gates:\n", "keep: {versions: 0}\ngates:\n", ["keep.versions: it must be at least"]),
        ("gates:\n", "merge: {when: always}\ngates:\n", ["merge.when: it must be 'checks pass'"]),
        ("gates:\n", "packages: {max_bytes: -1}\ngates:\n", ["packages.max_bytes"]),
        ("gates:\n", evaluated("from: 'runs:/r'"), ["evaluation.churn.from"]),
        ("gates:\n", "promotes_from: dev\ngates:\n", ["promotes_from names the environment itself"]),
        ("uri: http", "uri: ftp", ["mlflow.uri: "]),
        ("  channel: C0MLRELEASES", "  chanel: C0", ["slack.channel: is missing", "slack.chanel: unknown key"]),
        ("  channel: C0MLRELEASES", "  channel: C0MLRELEASES\n  may: {approve: [sam]}", ["slack.may.approve.0"]),
        ("grpc: triton-staging.mlops.svc:8001", "grpc: staging", ["staging.triton.grpc"]),
    ],
)
def test_the_way_back_goes_on_without_a_part_that_it_does_not_need(
    old: str, new: str, says: list[str], write: Write
) -> None:
    root = write(changed(old, new))
    with pytest.raises(InvalidInput):
        environment_files.load(root, "dev")
    loaded = environment_files.load_for_the_way_back(root, "dev")
    assert len(loaded.mistakes) == len(says)
    for said in says:
        (mistake,) = [one for one in loaded.mistakes if said in str(one)]
        assert mistake.file == FILE and mistake.line
    good = environment_files.load(write(GOOD), "dev")
    for part in environment_files.THE_WAY_BACK_NEEDS:
        assert getattr(loaded, part) == getattr(good, part)


def test_a_part_that_is_wrong_gives_its_mistake_to_whoever_asks_for_it(write: Write) -> None:
    text = changed("uri: http", "uri: ftp").replace("channel: C0MLRELEASES", "channel: '#ml'")
    loaded = environment_files.load_for_the_way_back(write(text), "dev")
    loaded.see_that_it_can_be_used("staging")
    for part, member in (("mlflow", "registry"), ("slack", "slack")):
        with Platform(loaded, {}) as platform, pytest.raises(InvalidInput, match=f": {part}\\."):
            getattr(platform, member)
    assert not loaded.slack.may, "nobody has a role that cannot be read"
    with pytest.raises(Refused, match="has no gate for churn"):
        root = write(changed("on_miss: shadow", "on_miss: reject"))
        environment_files.load_for_the_way_back(root, "dev").gate("churn")


def test_one_wrong_gate_or_role_leaves_the_others(write: Write) -> None:
    gates = "on_miss: reject\n    metrics: {a: {minimum: 0}}\n  fraud:\n    on_miss: shadow"
    slack = "  channel: C0MLRELEASES\n  may: {approve: [sam]}\n  github_logins: {U0SAM: sam}"
    text = changed("on_miss: shadow\n    latency_budget_milliseconds: 50", gates)
    loaded = environment_files.load_for_the_way_back(write(text.replace("  channel: C0MLRELEASES", slack)), "dev")
    assert set(loaded.gates) == {"fraud"}
    assert (loaded.slack.channel, loaded.slack.github_logins) == ("C0MLRELEASES", {"U0SAM": "sam"})
    assert not loaded.slack.may


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("grpc: triton-0.triton.ml-dev.svc:8001", "grpc: triton-0", "tritons.0.grpc"),
        ("name: gateway-1", "name: gateway-0", ""),
        ("url: http://gateway-0", "url: gateway-0", "gateways.0.url"),
        (RECORDS, "records: mnt", "records"),
        ("model-repo/dev", "../dev", "share.model_repository"),
        ("repository: acme/models", "repository: acme", "github.repository"),
        ("environment: dev", "environment: prod", "environment"),
        ("gates:\n", "gates: {}\ngates:\n", "gates"),
        ("gates:\n", "gates: [\n", "gates"),
    ],
)
def test_the_way_back_stops_at_a_part_that_it_needs_and_says_how_to_go_on(
    old: str, new: str, key: str, write: Write
) -> None:
    with pytest.raises(InvalidInput) as failure:
        environment_files.load_for_the_way_back(write(changed(old, new)), "dev")
    assert (failure.value.file, failure.value.key) == (FILE, key)
    assert failure.value.line
    assert "git worktree add ../before COMMIT" in failure.value.next_step


def test_a_model_is_measured_as_the_evaluation_that_fits_best_says(write: Write) -> None:
    sets = f"""evaluation:
  churn: {{digest: '{SET}', from: runs:/r1/evaluation/churn, metrics: {{accuracy: balanced_accuracy}}}}
  "fraud-*":
    digest: '{SET}'
    s3: {{bucket: mlops, prefix: evaluation/fraud, access_key_id_env: A_KEY, secret_access_key_env: A_SECRET}}
bundles: {{late: [fraud-a, fraud-b]}}
gates:
"""
    dev = environment_files.load(write(changed("gates:\n", sets)), "dev")
    churn, fraud = dev.evaluation_of("churn"), dev.evaluation_of("fraud-us")
    assert (
        churn and churn.source == "runs:/r1/evaluation/churn" and churn.metrics == {"accuracy": "balanced_accuracy"}
    )
    assert (churn.tolerance, churn.threshold, churn.show_inputs, churn.costs) == (0.01, 0.5, False, None)
    assert fraud and fraud.source is None and fraud.s3 and fraud.s3.prefix == "evaluation/fraud"
    assert dev.evaluation_of("other") is None
    assert dev.evaluation_of("fraud-a") is None, "a pattern speaks of models that users ask, not of parts before"
    assert dev.evaluation_of("fraud-b") == fraud
    assert settings.secret_variables(dev) >= {"A_KEY", "A_SECRET"}


def test_recorded_requests_are_asked_again_where_the_settings_say_so(write: Write) -> None:
    recordings = """recordings:
  s3: {bucket: mlops, prefix: recordings, access_key_id_env: A_KEY, secret_access_key_env: A_SECRET}
  replay: {churn: 5000, "fraud-*": 100}
bundles: {late: [fraud-a, fraud-b]}
gates:
"""
    dev = environment_files.load(write(changed("gates:\n", recordings)), "dev")
    assert [dev.replays(model) for model in ("churn", "fraud-us", "other", "fraud-a", "fraud-b")] == [
        *(5000, 100, 0, 0, 100),
    ]
    assert settings.secret_variables(dev) >= {"A_KEY", "A_SECRET"}
    assert environment_files.load(write(changed("gates:\n", "gates:\n")), "dev").replays("churn") == 0


CONFIDENCE = ("max_regression: 0.01}", "max_regression: 0.01, confidence: 0.95}")
SLICES = ("    on_miss: shadow\n", "    on_miss: shadow\n    slices: {by: [region], max_regression: 0.1}\n")
LATENCY = ("    on_miss: shadow\n", "    on_miss: shadow\n    latency: {p99_milliseconds: 50}\n")


@pytest.mark.parametrize(
    ("asks", "key"),
    [
        (CONFIDENCE, "gates.churn.metrics.accuracy.confidence"),
        (SLICES, "gates.churn.slices"),
        (LATENCY, "gates.churn.latency"),
    ],
)
def test_a_gate_that_only_measured_numbers_can_answer_needs_an_evaluation_set(
    asks: tuple[str, str], key: str, write: Write
) -> None:
    text = changed(*asks)
    with pytest.raises(InvalidInput, match=r"it needs an evaluation set: add evaluation\.churn") as refused:
        environment_files.load(write(text), "dev")
    assert refused.value.key == key
    assert refused.value.line == line_of(text, asks[1].splitlines()[-1])
    back = environment_files.load_for_the_way_back(write(text), "dev")
    assert [one.key for one in back.mistakes] == [key]
    for name in ("churn", "default", "ch*"):
        sets = evaluated("from: 'runs:/r/x'").replace("churn", f'"{name}"')
        assert environment_files.load(write(text.replace("gates:\n", sets)), "dev").evaluation_of("churn")
    other = text.replace("gates:\n", evaluated("from: 'runs:/r/x'").replace("churn", "fraud"))
    with pytest.raises(InvalidInput, match="needs an evaluation set"):
        environment_files.load(write(other), "dev")


def test_a_pattern_of_gates_needs_a_set_for_all_of_them(write: Write) -> None:
    text = changed(*CONFIDENCE).replace("  churn:\n", '  "ch*":\n')
    for name, fits in (("ch*", True), ("default", True), ("churn", False)):
        sets = evaluated("from: 'runs:/r/x'").replace("churn", f'"{name}"')
        root = write(text.replace("gates:\n", sets))
        if fits:
            environment_files.load(root, "dev")
        else:
            with pytest.raises(InvalidInput, match=r"add evaluation\.ch\*"):
                environment_files.load(root, "dev")


def test_what_decides_the_numbers_beside_the_rows_has_a_fingerprint() -> None:
    rules = {"digest": SET, "from": "runs:/r/x"}
    plain = settings.EvaluationRules.model_validate(rules).measured_by
    for same in ({"tolerance": 0.5}, {"show_inputs": True}, {"batch_rows": 7}, {"from": "runs:/other/place"}):
        assert settings.EvaluationRules.model_validate({**rules, **same}).measured_by == plain, same
    for other in ({"output": "p"}, {"metrics": {"a": "f1"}}, {"threshold": 0.4}):
        assert settings.EvaluationRules.model_validate({**rules, **other}).measured_by != plain, other


NAMED = """gates:
  default: {metrics: {AUC-ROC: {minimum: 0.5}}}
  "fraud-*": {metrics: {f1 score: {minimum: 0.6}}}
  "*-eu": {metrics: {val/accuracy: {minimum: 0.7}}}
  "fraud-*-eu": {metrics: {training_accuracy_score: {minimum: 0.8}}}
  churn: {metrics: {정확도: {minimum: 0.9}}}
mlflow_names:
  model-a: prod.fraud.Model-A
  churn: churn_모델
"""


def test_a_models_own_gate_comes_first_then_the_longest_pattern_then_default(write: Write) -> None:
    dev = environment_files.load(write(GOOD[: GOOD.index("gates:\n")] + NAMED), "dev")
    held = {
        model: next(iter(dev.gate(model).metrics)) for model in ("churn", "fraud-us", "fraud-eu", "x-eu", "model-a")
    }
    assert held == {
        "churn": "정확도",
        "fraud-us": "f1 score",
        "fraud-eu": "f1 score",
        "x-eu": "val/accuracy",
        "model-a": "AUC-ROC",
    }
    assert list(dev.gate("fraud-x-eu").metrics) == ["training_accuracy_score"]
    assert dev.named_models == {"churn", "model-a"} and dev.takes_unnamed
    assert dev.serving_name("prod.fraud.Model-A") == "model-a"


def test_a_name_of_mlflows_is_answered_with_the_name_it_is_served_under(write: Write) -> None:
    text = GOOD.replace(
        "gates:\n", "mlflow_names: {score: credit}\ngates:\n  default: {metrics: {a: {minimum: 0}}}\n"
    )
    dev = environment_files.load(write(text), "dev")
    with pytest.raises(Refused, match=r"credit is a name in MLflow: .*dev\.yaml serves it as score") as refused:
        dev.gate("credit")
    assert refused.value.next_step == "Say score."


def test_without_its_names_mlflow_is_not_asked_and_the_way_back_is_open(write: Write) -> None:
    root = write(changed("gates:\n", "mlflow_names: {score: a/b}\ngates:\n"))
    dev = environment_files.load_for_the_way_back(root, "dev")
    (mistake,) = dev.mistakes
    assert mistake.key == "mlflow_names.score" and dev.mlflow_names == {}
    with pytest.raises(InvalidInput, match=r"mlflow_names\.score"):
        dev.see_that_it_can_be_used("mlflow")


ROLLOUTS = """rollout:
  default: {bake: {}}
  "chu*": {steps: [10, 100], key: x-user-id}
  c: {steps: [1, 5, 100], bake: {minutes: 5, on_breach: tell}}
bundles: {pair: [a, c]}
gates:
"""


def test_a_rollout_is_found_as_a_gate_is(write: Write) -> None:
    dev = environment_files.load(write(changed("gates:\n", ROLLOUTS)), "dev")
    assert dev.rollout_of("churn").steps == [10, 100]
    assert dev.rollout_of("churn").key == "x-user-id"
    assert dev.rollout_of("churn").bake is None
    assert dev.rollout_of("fraud") == RolloutRules(bake=Bake())
    assert dev.rollout_of("fraud").steps == [100]


def test_what_is_replaced_in_place(write: Write) -> None:
    rules = (
        "rollout: {default: {replace: in place}, fraud: {replace: in place with an outage}, churn: {}}\n"
        "bundles: {pair: [a, c]}\ngates:\n"
    )
    dev = environment_files.load(write(changed("gates:\n", rules)), "dev")
    assert [model for model in ("wine", "fraud", "churn", "a", "c") if dev.replaces_in_place(model)] == [
        "wine",
        "fraud",
    ]


def test_a_bundle_goes_as_the_part_that_users_ask(write: Write) -> None:
    dev = environment_files.load(write(changed("gates:\n", ROLLOUTS)), "dev")
    assert dev.rollout_of("a") == dev.rollout_of("c")
    assert dev.rollout_of("a").steps == [1, 5, 100]


def test_without_rollouts_all_users_get_a_change_at_once(write: Write) -> None:
    dev = environment_files.load(write(changed("gates:\n", "gates:\n")), "dev")
    assert dev.rollout_of("churn") == RolloutRules()
    assert dev.rollout_of("churn").steps == [100]
    assert dev.rollout_of("churn").bake is None


def test_a_mistake_in_one_rollout_leaves_the_others_and_the_way_back(write: Write) -> None:
    text = changed("gates:\n", "rollout: {churn: {steps: [5]}, fraud: {steps: [5, 100]}}\ngates:\n")
    dev = environment_files.load_for_the_way_back(write(text), "dev")
    assert [mistake.key for mistake in dev.mistakes] == ["rollout.churn.steps"]
    assert dev.rollout_of("churn").steps == [100]
    assert dev.rollout_of("fraud").steps == [5, 100]


def test_what_is_measured_for_a_metric_that_no_gate_judges_is_a_slip(write: Write) -> None:
    text = changed("gates:\n", evaluated("from: 'runs:/r/x', metrics: {acuracy: f1}"))
    with pytest.raises(InvalidInput, match=r"no gate judges it\. Did you mean accuracy\?") as refused:
        environment_files.load(write(text), "dev")
    assert refused.value.key == "evaluation.churn.metrics.acuracy"
    assert refused.value.line == line_of(text, "metrics: {acuracy: f1}")
    back = environment_files.load_for_the_way_back(write(text), "dev")
    assert [one.key for one in back.mistakes] == ["evaluation.churn.metrics.acuracy"]
    environment_files.load(write(text.replace("acuracy: f1", "accuracy: f1")), "dev")


def test_what_was_seen_while_inputs_were_shown_is_not_carried_to_where_they_are_not() -> None:
    rules = {"digest": SET, "from": "runs:/r/x"}
    shown = settings.EvaluationRules.model_validate({**rules, "show_inputs": True}).rules
    assert shown != settings.EvaluationRules.model_validate(rules).rules
