"""Takes each control out of the code, one at a time, and sees that a test fails without it.

A mutation is a piece of source, what it becomes, and the tests that must notice. It is applied to a copy of the
project; nothing of the work tree changes. The tests are first run on the copy as it is, so that a failure is the
mutation's.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.reliability.matrix import Matrix, Part, Point

PROJECT = Path(__file__).parents[2]
SECONDS = 600
FAILED, NOTHING_RAN = 1, 5


@dataclass(frozen=True)
class Mutation:
    """A control, where it stands in the source, what stands there without it, and the tests that must fail then."""

    control: str
    what: str
    file: str
    source: str
    becomes: str
    tests: tuple[str, ...]

    def apply(self, root: Path) -> str:
        """Change the file; return what is wrong where the source is not there exactly once."""
        path = root / self.file
        text = path.read_text()
        if text.count(self.source) != 1:
            return f"{self.file} holds the control {text.count(self.source)} times, as it is written in mutations.py"
        path.write_text(text.replace(self.source, self.becomes))
        return ""


COPYING, FILES = "bot/systems/share/copying.py", "bot/systems/share/files.py"
REPOSITORY, STAGING, STATE, TURNS = (
    f"bot/systems/share/{name}.py" for name in ("repository", "staging", "state", "turns")
)
RECORDS, TRITON = "bot/systems/records.py", "bot/systems/triton.py"
BUCKET, T_BUCKET = "bot/systems/object_store.py", "tests/systems/test_object_store.py"
T_TRUST = "tests/systems/test_trust.py"
T_LIKE = "tests/systems/test_stores_like.py"
T_PROXIES = "tests/systems/test_proxies.py"
T_MERGING = "tests/systems/test_merging.py"
T_RENAMED = "tests/systems/test_renamed.py"
T_PUBLISHING = "tests/systems/test_publishing.py"
SLACK, TABLE = "bot/systems/slack.py", "bot/gateway/table.py"
LOADING, PUBLISHING = "bot/verbs/deployment/loading.py", "bot/verbs/deployment/publishing.py"
ADMISSION, UNFINISHED = "bot/verbs/deployment/admission.py", "bot/verbs/deployment/unfinished.py"
T_SHARE, T_RECORDS, T_TURNS = (
    "tests/systems/test_share.py",
    "tests/systems/test_records.py",
    "tests/systems/test_turns.py",
)
T_SLACK, T_RELOAD, T_TRITON = (
    "tests/systems/test_slack.py",
    "tests/gateway/test_reload.py",
    "tests/systems/test_triton.py",
)
CHECKING, PACKAGE_RULES = "bot/verbs/checking.py", "bot/verbs/package_rules.py"
T_REDACTION = "tests/test_redaction.py"
IN_DIGITS = "test_a_secret_is_blanked_in_hexadecimal_digits_in_lines_and_where_it_was_encoded_twice"
T_FORGED = "tests/verbs/test_forged_records.py"
LIBRARY = "tests/verbs/test_check.py::test_a_library_in_a_package_is_never_copied_and_never_loaded"
T_DEPLOY, T_EVIDENCE = "tests/verbs/test_deploy.py", "tests/verbs/test_evidence.py"
BLAME, SWITCHING = "bot/domain/blame.py", "bot/verbs/deployment/switching.py"
T_BLAME, T_ONE_OF_MANY = "tests/domain/test_blame.py", "tests/verbs/test_blame.py"
ONE_OF_THREE = "test_of_three_models_the_one_that_a_gateway_refuses_goes_back_and_one_command_takes_the_blame_back"
T_SIGNED = "tests/systems/test_signed_commits.py"
ROLLBACK, T_AWAY = "bot/verbs/rollback.py", "tests/verbs/test_github_away.py"
WHILE_STOPPED = "test_while_github_is_stopped_users_go_back_and_the_next_deployment_opens_the_one_revert"
T_ROLLBACK = "tests/verbs/test_rollback.py"
GATEWAY_ASGI, GATEWAY_PROTOCOL = "bot/gateway/asgi.py", "bot/gateway/protocol.py"
T_UPGRADE, T_LIMITS, T_ADDRESSES = (f"tests/gateway/test_{name}.py" for name in ("upgrade", "limits", "addresses"))
T_TRIALS, T_SHARE_TRIAL = "tests/systems/test_trials_of_systems.py", "tests/systems/test_share_trial.py"
SCOPE, T_SCOPE = "bot/domain/scope.py", "tests/domain/test_scope.py"
PROPOSING, T_PROPOSING = "bot/verbs/proposing.py", "tests/systems/test_proposing.py"
DOING, T_PROPOSED = "bot/slack/doing.py", "tests/slack/test_only_what_was_proposed.py"
CHECK, T_SETTINGS = "bot/verbs/check.py", "tests/test_settings.py"
T_CHECK_SETTINGS, T_CONSISTENCY = "tests/verbs/test_check_settings.py", "tests/verbs/test_consistency.py"
GOLDEN, T_GOLDEN = "bot/domain/golden.py", "tests/domain/test_golden.py"
RETENTION, T_RETENTION = "bot/domain/retention.py", "tests/domain/test_retention.py"
EVIDENCE = "bot/domain/evidence.py"
SYNCED = f"{T_SHARE}::test_whatever_a_rename_shows_was_synced_before_and_the_rename_is_synced_after"
OPENED = f"{T_SHARE}::test_a_folder_is_opened_before_what_lies_in_it_is_looked_at"
MLFLOW, T_MLFLOW = "bot/systems/mlflow.py", "tests/systems/test_mlflow.py"
LEDGER, T_LEDGER = "bot/verbs/ledger.py", "tests/systems/test_ledger.py"
GIT, T_GIT = "bot/systems/git.py", "tests/systems/test_git.py"
T_DOMAIN_RECORDS = "tests/domain/test_records.py"
COVERS = f"{T_DOMAIN_RECORDS}::test_evidence_counts_for_its_own_entry_and_for_no_other_of_the_same_digest"
STATES = "tests/domain/test_records.py::test_what_evidence_is_worth_follows_from_its_checks_revocation_and_age"
OVERWRITTEN = "tests/systems/test_record_stores.py::test_a_record_is_never_overwritten"
T_MARKED = "tests/systems/test_marked.py"
LEAVES_BY_MISTAKE = "tests/verbs/test_check.py::test_what_would_leave_service_by_mistake_is_red"
RECORD_SYNCED = f"{T_RECORDS}::test_a_record_is_synced_before_its_name_appears_and_the_name_after"

CHECKS, T_ISOLATION = ".github/workflows/checks.yml", "tests/workflows/test_isolation.py"
T_MANIFESTS = "tests/kubernetes/test_manifests.py"
FORKS = f"{T_ISOLATION}::test_a_forks_verdict_is_red_and_nothing_of_it_needs_a_runner_of_ours"

MUTATIONS = (
    # Signed commits.
    Mutation(
        "signed commits",
        "a rule that asks for signatures is seen",
        "bot/systems/github.py",
        '        return any(rule.get("type") == "required_signatures" for rule in rules)\n',
        "        return False\n",
        (f"{T_SIGNED}::test_a_rule_has_the_proposal_signed_and_proposed_again",),
    ),
    Mutation(
        "signed commits",
        "a stale head is somebody else's work, and no error",
        "bot/systems/github.py",
        'one.get("type") == "STALE_DATA"',
        "False",
        (f"{T_SIGNED}::test_somebody_else_is_faster",),
    ),
    Mutation(
        "signed commits",
        "what GitHub made for the bot is the bot's",
        PROPOSING,
        "    return is_githubs and commit.of_branch == branch\n",
        "    return False\n",
        (f"{T_SIGNED}::test_a_rule_has_the_proposal_signed_and_proposed_again",),
    ),
    Mutation(
        "signed commits",
        "what a person typed into GitHub's pages is not the bot's",
        PROPOSING,
        "    return is_githubs and commit.of_branch == branch\n",
        "    return is_githubs\n",
        (f"{T_SIGNED}::test_what_a_person_commits_on_githubs_pages_is_a_persons",),
    ),
    # GitHub is away.
    Mutation(
        "github away",
        "a rollback notes its pull request before the switch",
        ROLLBACK,
        '        share.keep_way_back(way.name, way.model_dump_json(indent=1) + "\\n")\n',
        "",
        (f"{T_AWAY}::{WHILE_STOPPED}",),
    ),
    Mutation(
        "github away",
        "a rollback at once goes on without main",
        ROLLBACK,
        "        elif now:\n            commit, current",
        "        elif False:\n            commit, current",
        (f"{T_AWAY}::{WHILE_STOPPED}",),
    ),
    Mutation(
        "github away",
        "the same command comes to the same version again",
        ROLLBACK,
        "    if way := latest(ways).get(model):\n        return way.left\n",
        "",
        (f"{T_AWAY}::{WHILE_STOPPED}",),
    ),
    Mutation(
        "github away",
        "the next deployment opens the revert, in the words of who asked",
        "bot/verbs/deploy.py",
        "        let_git_follow(settings, connect.ledger(settings), turn, systems.share, desired, say)\n",
        "",
        (f"{T_AWAY}::{WHILE_STOPPED}",),
    ),
    Mutation(
        "github away",
        "the bot does not write over the words of who asked",
        "bot/verbs/deployment/conclusion.py",
        "                keeps=lambda pull: proposal_words.BY_THE_BOT not in pull.body,\n",
        "",
        (f"{T_AWAY}::{WHILE_STOPPED}",),
    ),
    Mutation(
        "github away",
        "what main asks for meanwhile is held",
        "bot/verbs/following.py",
        "        hold_what_main_asks(ledger, way, wanted)\n        which",
        "        which",
        (f"{T_AWAY}::test_what_was_merged_and_never_deployed_does_not_come_once_github_is_back",),
    ),
    Mutation(
        "github away",
        "a note does not overrule what people decided after it",
        "bot/domain/way_back.py",
        "        return bool(self.commit) and wanted != self.left\n",
        "        return False\n",
        ("tests/domain/test_way_back.py::test_main_that_changed_since_was_decided_anew",),
    ),
    Mutation(
        "github away",
        "a remote that hangs is waited for as long as one request takes",
        "bot/verbs/main_branch.py",
        "        return answer.result(timeout=None if until is None else max(0.0, until - monotonic()))\n",
        "        return answer.result()\n",
        ("tests/verbs/test_main_branch.py::test_who_hangs_is_not_waited_for",),
    ),
    Mutation(
        "packages",
        "a file's name that MLflow does not keep is refused",
        "bot/training/package.py",
        '_NOT_KEPT_BY_MLFLOW = frozenset("#%")\n',
        '_NOT_KEPT_BY_MLFLOW = frozenset("")\n',
        ("tests/training/test_package.py::test_what_no_environment_would_take_is_said_before_it_is_registered",),
    ),
    # Stores that do less than AWS S3.
    Mutation(
        "stores",
        "a checksum is in a header",
        BUCKET,
        "            ChecksumSHA256=base64.b64encode(hashlib.sha256(body).digest()).decode(),\n",
        '            ChecksumAlgorithm="SHA256",\n',
        (f"{T_LIKE}::test_one_that_knows_no_trailers_takes_records_over_https",),
    ),
    Mutation(
        "stores",
        "501 is not asked again",
        "bot/s3.py",
        "        if not is_missing and (status",
        "        if (status",
        (f"{T_LIKE}::test_one_without_conditions_is_refused_at_once_and_says_what_is_missing",),
    ),
    Mutation(
        "stores",
        "a store that wants the bucket in the host's name",
        "bot/s3.py",
        " or _OF_EVERY_STORE.get(code)\n",
        "\n",
        (f"{T_LIKE}::test_one_that_knows_hosts_only_says_which_setting_to_change",),
    ),
    Mutation(
        "stores",
        "addressing_style",
        "bot/s3.py",
        'addressing_style or ("path" if endpoint else "auto")',
        '"path" if endpoint else "auto"',
        (f"{T_LIKE}::test_with_addressing_style_virtual_the_bucket_is_in_the_hosts_name",),
    ),
    # Through which proxy each system is asked.
    Mutation(
        "proxies",
        "Git",
        "bot/systems/git.py",
        '            GIT_CONFIG_VALUE_4=web.proxy(url) or "",\n',
        '            GIT_CONFIG_VALUE_4="",\n',
        (f"{T_PROXIES}::test_the_environments_proxy_is_asked",),
    ),
    Mutation(
        "proxies",
        "buckets know networks in NO_PROXY",
        "bot/s3.py",
        "    if endpoint:\n        # boto",
        "    if not endpoint:\n        # boto",
        (f"{T_PROXIES}::test_no_proxy_names_hosts_and_networks",),
    ),
    Mutation(
        "proxies",
        "a gateway is a neighbour",
        "bot/systems/gateway.py",
        "timeout=request_seconds, trust_env=False, verify=tls",
        "timeout=request_seconds, verify=tls",
        (f"{T_PROXIES}::test_a_gateway_is_never_asked_through_a_proxy",),
    ),
    # Whom every client trusts.
    Mutation(
        "trust",
        "variables that name authorities add up",
        "bot/trust.py",
        "        found += inside\n",
        "        found = inside\n",
        (f"{T_TRUST}::test_two_variables_add_up_and_none_hides_another",),
    ),
    Mutation(
        "trust",
        "a certificate that is replaced is seen",
        "bot/trust.py",
        "    return name, str(path), found.st_size, found.st_mtime_ns\n",
        "    return name, str(path), 0, 0\n",
        (f"{T_TRUST}::test_a_certificate_that_is_replaced_is_seen_by_the_next_client",),
    ),
    Mutation(
        "trust",
        "gateways",
        "bot/systems/gateway.py",
        'trust.context() if endpoint.url.startswith("https:") else False',
        'endpoint.url.startswith("https:")',
        (f"{T_TRUST}::test_a_gateway",),
    ),
    Mutation(
        "trust",
        "MLflow",
        "bot/web.py",
        "            tls = trust.context()\n",
        "            tls = True\n",
        (f"{T_TRUST}::test_mlflow",),
    ),
    Mutation(
        "trust",
        "GitHub",
        "bot/systems/github.py",
        'trust.file() if settings.api_url.startswith("https:") else True',
        "True",
        (f"{T_TRUST}::test_github_and_git",),
    ),
    Mutation(
        "trust",
        "Git",
        "bot/systems/git.py",
        '        return {"GIT_SSL_CAINFO": str(authorities)}\n',
        "        return {}\n",
        (f"{T_TRUST}::test_github_and_git",),
    ),
    Mutation(
        "trust",
        "buckets",
        "bot/s3.py",
        " or trust.file()\n",
        ' or ""\n',
        (f"{T_TRUST}::test_records_in_a_bucket",),
    ),
    Mutation(
        "trust",
        "Slack",
        "bot/systems/slack.py",
        "ssl=_context_for(base_url), ",
        "",
        (f"{T_TRUST}::test_slack",),
    ),
    Mutation(
        "trust",
        "the addresses at which Slack takes answers",
        "bot/systems/slack.py",
        "ssl=_context_for(url), ",
        "",
        (f"{T_TRUST}::test_slack",),
    ),
    Mutation(
        "trust",
        "Triton",
        "bot/systems/triton.py",
        "grpc.ssl_channel_credentials(trust.bundle(), ",
        "grpc.ssl_channel_credentials(None, ",
        (f"{T_TRUST}::test_triton",),
    ),
    # What GitHub answers.
    Mutation(
        "github",
        "another client in the process keeps its redirects",
        "bot/systems/github.py",
        '        if self.headers.get("User-Agent") != _USER_AGENT:\n',
        "        if not self.headers:\n",
        ("tests/systems/test_renamed.py::test_another_client_in_the_process_keeps_its_redirects",),
    ),
    Mutation(
        "github",
        "an answer that is a redirect is an error",
        "bot/systems/github.py",
        "    if not 200 <= response.status < 300:\n",
        "    if response.status < 200:\n",
        (f"{T_RENAMED}::test_every_call_says_the_new_name_and_does_nothing",),
    ),
    Mutation(
        "github",
        "an answer that is not JSON is an error",
        "bot/systems/github.py",
        "        json.loads(response.read())\n",
        "        response.read()\n",
        (f"{T_RENAMED}::test_an_answer_that_is_not_githubs_is_not_a_success",),
    ),
    Mutation(
        "github",
        "a merge beside another's is asked again",
        "bot/systems/github.py",
        '                if "base branch was modified" in said.lower():\n',
        '                if "base branch was altered" in said.lower():\n',
        (f"{T_MERGING}::test_a_merge_beside_anothers_is_asked_again_at_the_same_head",),
    ),
    Mutation(
        "github",
        "after another's merge the head is looked at",
        "bot/systems/github.py",
        "        if pull.head.sha != head:\n",
        "        if not pull.head.sha:\n",
        (f"{T_MERGING}::test_after_anothers_merge_only_the_head_that_was_shown_is_merged",),
    ),
    Mutation(
        "github",
        "a merge queue is joined",
        "bot/systems/github.py",
        "            if rules.has_queue:\n",
        "            if not rules.types:\n",
        (f"{T_MERGING}::test_each_method_merges_by_setting_and_by_what_is_allowed",),
    ),
    Mutation(
        "github",
        "a deleted account has a name",
        "bot/systems/github.py",
        "    return user.login if user else GHOST\n",
        "    assert user\n    return user.login\n",
        (f"{T_MERGING}::test_deleted_accounts_have_a_name",),
    ),
    Mutation(
        "github",
        "of a server's words the beginning is kept",
        "bot/systems/git.py",
        "(servers[:500], own[-400:])",
        "(servers[-100:], own[-400:])",
        ("tests/systems/test_git_rules.py::test_the_rules_own_words_are_kept_from_their_beginning",),
    ),
    Mutation(
        "github",
        "a merge says that it merged",
        "bot/systems/github.py",
        "            if not answer.merged or not answer.sha:\n",
        "            if not answer.sha:\n",
        (f"{T_RENAMED}::test_a_merge_that_does_not_say_merged_is_not_one",),
    ),
    # Who reaches what.
    Mutation("isolation", "a fork's verdict is red", CHECKS, "          exit 1\n", "          exit 0\n", (FORKS,)),
    Mutation(
        "isolation",
        "a fork's verdict runs at GitHub",
        CHECKS,
        "|| 'ubuntu-latest' }} # zizmor",
        "|| 'self-hosted' }} # zizmor",
        (FORKS,),
    ),
    Mutation(
        "isolation",
        "whoever only looks needs no reload token",
        "bot/verbs/drift.py",
        "connect.serving(settings, reads_only=True)",
        "connect.serving(settings)",
        ("tests/verbs/test_drift.py::test_whoever_only_looks_needs_no_reload_token",),
    ),
    Mutation(
        "isolation",
        "a runner installs nothing without a hash",
        ".github/actions/promobot/action.yml",
        "locked=(--require-hashes ",
        "locked=(",
        ("tests/workflows/test_installs.py",),
    ),
    Mutation(
        "isolation",
        "uv itself has a hash",
        ".github/actions/promobot/action.yml",
        "--require-hashes --only-binary :all: --requirement requirements-uv.lock",
        "uv",
        ("tests/workflows/test_installs.py",),
    ),
    Mutation(
        "isolation",
        "a check cannot write deployments and quarantine",
        "manifests/kubernetes/runner-values-checks.yaml",
        "            readOnly: true\n",
        "",
        (f"{T_MANIFESTS}::test_it_holds",),
    ),
    Mutation(
        "isolation",
        "images go by digest",
        "manifests/kubernetes/components/images/kustomization.yaml",
        "    digest: sha256:0330739a707a2969d617e859f096659ab6d149212658ac0ad7e550b59482ebf0\n",
        "",
        (f"{T_MANIFESTS}::test_it_holds",),
    ),
    Mutation(
        "isolation",
        "a check needs nothing that serves",
        "bot/verbs/connect.py",
        "    server = triton(settings.staging.triton, request_seconds",
        "    triton(settings.tritons[0], request_seconds=1)\n"
        "    server = triton(settings.staging.triton, request_seconds",
        ("tests/verbs/test_check_with_little.py",),
    ),
    # What a crash may lose.
    Mutation(
        "fsync",
        "of a file that is copied",
        COPYING,
        "            out.flush()\n            os.fsync(out.fileno())\n",
        "",
        (SYNCED,),
    ),
    Mutation(
        "fsync", "of a small file", FILES, "        file.flush()\n        os.fsync(file.fileno())\n", "", (SYNCED,)
    ),
    Mutation(
        "fsync",
        "of the folders of a version",
        REPOSITORY,
        "                    sync_folders(staging)\n                    if not",
        "                    if not",
        (SYNCED,),
    ),
    Mutation(
        "fsync",
        "of the folder of a package",
        REPOSITORY,
        "            sync_folders(staging)\n            rename_in(staging, target)\n",
        "            rename_in(staging, target)\n",
        (SYNCED,),
    ),
    Mutation(
        "fsync",
        "of the folder that a version is renamed into",
        FILES,
        "        fresh = False\n    sync_folder(target.parent)\n",
        "        fresh = False\n",
        (SYNCED,),
    ),
    Mutation(
        "fsync",
        "of who may write into a version",
        REPOSITORY,
        "                # Also what somebody protected who was killed before he synced it.\n"
        "                sync_folder(folder)\n",
        "",
        (SYNCED,),
    ),
    Mutation("fsync", "of Triton's root", REPOSITORY, "                    sync_folder(self.root)\n", "", (SYNCED,)),
    Mutation(
        "fsync",
        "of the folder of a file that is replaced",
        STATE,
        "            temporary.unlink(missing_ok=True)\n        sync_folder(path.parent)\n",
        "            temporary.unlink(missing_ok=True)\n",
        (SYNCED,),
    ),
    Mutation("fsync", "of the routes' commit", STATE, "            sync_folder(committed.parent)\n", "", (SYNCED,)),
    Mutation(
        "fsync",
        "of the routes' copy",
        STATE,
        '            copy.replace(self.state / "routes.json")\n            sync_folder(self.state)\n',
        '            copy.replace(self.state / "routes.json")\n',
        (SYNCED,),
    ),
    Mutation("fsync", "of a record", RECORDS, "                os.fsync(file.fileno())\n", "", (RECORD_SYNCED,)),
    Mutation(
        "fsync",
        "of a record's folders",
        RECORDS,
        "            sync_folder(folder)  # those above may be new, too\n",
        "",
        (RECORD_SYNCED,),
    ),
    # Who may write.
    Mutation(
        "fence",
        "a later turn ends an earlier one",
        TURNS,
        "        if latest > self.number:\n",
        "        if latest < 0:\n",
        (T_TURNS,),
    ),
    Mutation(
        "fence",
        "a turn's number is taken once",
        TURNS,
        "os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644",
        "os.O_WRONLY | os.O_CREAT, 0o644",
        (T_TURNS,),
    ),
    Mutation(
        "fence",
        "a table that is prepared is nobody else's",
        STATE,
        '        name = f"routes-{table.generation}-{hashlib.sha256(table.to_json().encode()).hexdigest()[:16]}"\n',
        '        name = f"routes-{table.generation}"\n',
        (f"{T_SHARE}::test_nobody_else_s_table_is_put_in_force_by_whoever_thinks_it_is_its_own",),
    ),
    Mutation(
        "NFS",
        "a folder is opened before a package is looked for",
        REPOSITORY,
        "            ask_anew(folder / PACKAGE_FILE)\n",
        "",
        (OPENED,),
    ),
    Mutation(
        "NFS",
        "a folder is opened before a version is looked at",
        REPOSITORY,
        "            ask_anew(folder)\n            if folder.is_symlink():\n",
        "            if folder.is_symlink():\n",
        (OPENED,),
    ),
    Mutation(
        "NFS",
        "a folder is opened before routes are read",
        STATE,
        "        ask_anew(path)\n        try:\n",
        "        try:\n",
        (OPENED,),
    ),
    Mutation(
        "NFS",
        "a gateway opens the folders above its routes",
        TABLE,
        "        ask_anew(path)\n",
        "",
        (f"{T_RELOAD}::test_the_folders_above_the_routes_are_opened_before_they_are_read",),
    ),
    Mutation(
        "NFS",
        "a folder is opened before records are listed",
        RECORDS,
        "            ask_anew(folder)\n",
        "",
        (f"{T_RECORDS}::test_a_folder_is_opened_before_what_lies_in_it_is_looked_at",),
    ),
    Mutation(
        "NFS",
        "what is held open stays in the trash",
        FILES,
        "error.errno in (errno.EBUSY, errno.ENOTEMPTY)",
        "error.errno in ()",
        (f"{T_SHARE}::test_what_somebody_has_open_on_nfs_stays_in_the_trash_and_goes_later",),
    ),
    Mutation(
        "fence",
        "who holds the lock is waited for",
        STATE,
        "locked = wait_for_lock(lock, until=deadline)",
        "locked = True",
        (T_TURNS,),
    ),
    Mutation(
        "fence",
        "who overtook is waited for",
        STATE,
        "alone = wait_for_lock(overtaking, until=deadline) and locked",
        "alone = locked",
        (T_TURNS,),
    ),
    Mutation(
        "fence",
        "a generation is created once",
        STATE,
        "                os.link(prepared, committed)\n",
        "                shutil.copy(prepared, committed)\n",
        (f"{T_SHARE}::test_of_two_tables_for_one_generation_the_second_is_refused_however_late_it_comes",),
    ),
    Mutation(
        "fence",
        "the bot follows the generations, not the copy",
        STATE,
        "        while later := self._table(self._generation(table.generation + 1)):\n            table = later\n",
        "",
        (f"{T_SHARE}::test_a_copy_that_was_made_late_does_not_bring_old_routes_back",),
    ),
    Mutation(
        "fence",
        "a gateway follows the generations, not the copy",
        TABLE,
        "            table = later\n        return table\n",
        "            break\n        return table\n",
        (T_RELOAD,),
    ),
    Mutation(
        "fence",
        "a gateway refuses an older generation",
        TABLE,
        "    if new.generation < old.generation:\n",
        "    if False:\n",
        (T_RELOAD,),
    ),
    Mutation(
        "fence",
        "a gateway refuses other routes under its generation",
        TABLE,
        "    if new.generation == old.generation and old.generation and new != old:\n",
        "    if False:\n",
        (T_RELOAD,),
    ),
    Mutation(
        "fence",
        "a record is created once",
        RECORDS,
        "            os.link(temporary, path)\n",
        "            temporary.replace(path)\n",
        (OVERWRITTEN,),
    ),
    Mutation(
        "fence", "a record in a bucket is created once", BUCKET, '            IfNoneMatch="*",\n', "", (OVERWRITTEN,)
    ),
    Mutation(
        "proof",
        "who wrote the record whose answer was lost",
        BUCKET,
        "                if doubtful and self._writer(key) == writer:\n",
        "                if doubtful:\n",
        (f"{T_BUCKET}::test_what_somebody_else_wrote_is_not_taken_for_ones_own_though_the_answer_was_lost",),
    ),
    Mutation(
        "proof",
        "the bytes of a record are those that were written",
        BUCKET,
        "not in (None, hashlib.sha256(content).hexdigest()):",
        "not in (None, hashlib.sha256(content).hexdigest()) and False:",
        (f"{T_BUCKET}::test_bytes_that_are_not_those_that_were_written_are_never_taken",),
    ),
    Mutation(
        "fence",
        "a published version is not overwritten",
        REPOSITORY,
        "            fresh = not target.is_dir()\n",
        "            if target.is_dir():\n                delete(target)\n            fresh = True\n",
        (T_SHARE,),
    ),
    # Which bytes.
    Mutation(
        "digest",
        "of every file that is copied",
        COPYING,
        "        if not self._is_right():\n            raise",
        "        if False:\n            raise",
        (T_SHARE,),
    ),
    Mutation(
        "digest",
        "of what is copied from elsewhere on the share",
        COPYING,
        "            whole = self._take(out, place)\n            if self._is_right():\n",
        "            whole = self._take(out, place)\n            if whole:\n",
        (f"{T_PUBLISHING}::test_what_is_damaged_is_fetched_from_the_registry",),
    ),
    Mutation(
        "digest",
        "of a beginning that was left by a publish that was cut off",
        COPYING,
        "                return\n            self._forget(out)\n        self._receive(out)\n",
        "                return\n            return\n        self._receive(out)\n",
        (f"{T_PUBLISHING}::test_what_was_changed_in_between_is_not_used",),
    ),
    Mutation(
        "fence",
        "where somebody still puts a version together is not deleted",
        STAGING,
        "if path not in fullest and not _is_held(path):",
        "if path not in fullest:",
        (f"{T_PUBLISHING}::test_who_is_paused_and_wakes_up_late_writes_into_nothing_that_is_published",),
    ),
    Mutation(
        "digest",
        "of what is kept of a package",
        REPOSITORY,
        "            if package.digest != digest or listed is None",
        "            if listed is None",
        (T_SHARE,),
    ),
    Mutation(
        "digest",
        "of a version that is adopted",
        REPOSITORY,
        "        wrong = [] if fresh else self.wrong_bytes(",
        "        wrong = [] if True else self.wrong_bytes(",
        (T_SHARE,),
    ),
    Mutation(
        "digest",
        "of files in a version, compared",
        REPOSITORY,
        "or size_and_sha256(path) != (file.size, file.sha256)",
        "or False",
        (T_SHARE,),
    ),
    Mutation(
        "digest",
        "of what MLflow has, against what was merged",
        PUBLISHING,
        "    if package.digest != entry.digest:\n",
        "    if False:\n",
        (f"{T_DEPLOY}::test_bytes_that_come_back_are_deployed_and_those_that_do_not_are_reverted",),
    ),
    Mutation(
        "fence",
        "nothing is begun after an error",
        "bot/verbs/side_by_side.py",
        "None if errors else next(waiting, None)",
        "next(waiting, None)",
        ("tests/verbs/test_side_by_side.py",),
    ),
    # What counts as done.
    Mutation(
        "proof",
        "that very version is READY in the index",
        LOADING,
        '        found[pairs[(state.model, state.version)]] = kind(said, system=f"Triton {triton.name}")\n',
        "        del said, kind\n",
        (f"{T_DEPLOY}::test_a_load_that_triton_says_it_did_and_did_not_is_none",),
    ),
    Mutation(
        "proof",
        "the asked version answered",
        TRITON,
        "        if answer.get_response().model_version != str(version):\n",
        "        if False:\n",
        (f"{T_TRITON}::test_an_answer_of_another_version_is_no_answer",),
    ),
    Mutation(
        "proof",
        "a message is read back",
        SLACK,
        "        if not self._is_there(timestamp, thread):\n",
        "        if False:\n",
        (f"{T_SLACK}::test_a_message_that_was_accepted_but_is_not_there_is_unavailable",),
    ),
    Mutation(
        "proof",
        "a message is looked for before it is sent",
        SLACK,
        "        if found:\n            return found\n",
        "",
        (f"{T_SLACK}::test_a_message_is_delivered_once_by_its_key",),
    ),
    Mutation(
        "proof",
        "evidence is there",
        ADMISSION,
        "    if evidence is None:\n",
        "    if evidence is None and False:\n",
        (f"{T_DEPLOY}::test_what_nobody_checked_is_held",),
    ),
    Mutation(
        "proof",
        "the training framework's answers",
        GOLDEN,
        "        wrong = differences(case, answer, self.smoke.tolerance)\n",
        "        wrong: list[str] = []\n",
        (T_GOLDEN,),
    ),
    Mutation(
        "proof",
        "what staging answered in the checks",
        GOLDEN,
        "        seen = differences(replace(case, outputs=staging.outputs), answer, self.smoke.tolerance)\n",
        "        seen: list[str] = []\n",
        (T_GOLDEN,),
    ),
    Mutation(
        "proof",
        "golden requests before the switch",
        LOADING,
        "                if answer:\n                    item.to_blame = True\n",
        "                if False:\n                    item.to_blame = True\n",
        (f"{T_DEPLOY}::test_a_version_that_fails_before_the_switch_is_never_seen",),
    ),
    Mutation(
        "proof", "evidence is green", EVIDENCE, "        if not self.passed:\n", "        if False:\n", (STATES,)
    ),
    Mutation(
        "proof",
        "evidence is not revoked",
        EVIDENCE,
        "        if self.revoked is not None:\n",
        "        if False:\n",
        (STATES,),
    ),
    Mutation(
        "proof",
        "evidence has not expired",
        EVIDENCE,
        '        return "expired" if self.expires <= now else "green"\n',
        '        return "green"\n',
        (STATES,),
    ),
    Mutation(
        "proof",
        "what register was told stays with the version",
        "bot/training/registration.py",
        "                tags={**tags, **as_tags(measured)},\n",
        "                tags=tags,\n",
        (
            "tests/training/test_registration.py::"
            "test_what_it_was_told_is_judged_whatever_the_run_logged_before_or_logs_later",
        ),
    ),
    Mutation(
        "proof",
        "a version of a LoggedModel has that model's metrics",
        MLFLOW,
        "        if model:\n            return self._measured_for(model)\n",
        "",
        (f"{T_MLFLOW}::test_a_version_of_a_logged_model_is_judged_by_that_models_metrics",),
    ),
    Mutation(
        "proof",
        "a copy leads to its origin",
        MLFLOW,
        "            if copied is None:\n                measured",
        "            if True:\n                measured",
        (f"{T_MLFLOW}::test_a_copy_is_judged_by_what_it_was_made_of",),
    ),
    Mutation(
        "proof",
        "a version's files are of its run",
        MLFLOW,
        "        if owner != run_id:\n",
        "        if False:\n",
        (f"{T_MLFLOW}::test_whose_metrics_count_is_not_guessed_where_a_version_contradicts_itself",),
    ),
    Mutation(
        "proof",
        "NaN of a LoggedModel is no 0",
        MLFLOW,
        "if value == 0]:\n",
        "if False]:\n",
        (f"{T_MLFLOW}::test_a_number_that_is_none_is_not_taken_for_zero_or_the_largest_there_is",),
    ),
    Mutation(
        "proof",
        "a metric of several datasets is ambiguous",
        "bot/domain/metrics.py",
        "        if len(datasets) > 1:\n",
        "        if False:\n",
        ("tests/domain/test_metrics.py::test_a_metric_with_several_numbers_that_might_count_has_none",),
    ),
    Mutation(
        "proof",
        "an ambiguous number in service is no excuse",
        "bot/domain/gate.py",
        "    if other and rule.max_regression is not None:\n",
        "    if False:\n",
        ("tests/domain/test_gate.py::test_what_is_in_service_is_no_excuse_where_nobody_knows_its_number",),
    ),
    Mutation(
        "proof",
        "evidence is of this version",
        EVIDENCE,
        "        if (self.version, self.digest) != (entry.version, entry.digest):\n",
        "        if self.digest != entry.digest:\n",
        (COVERS,),
    ),
    Mutation(
        "proof",
        "evidence is of this run",
        EVIDENCE,
        "        return self.run == entry.run if self.run else not self.passed\n",
        "        return True\n",
        (COVERS, f"{T_LEDGER}::test_evidence_of_the_same_digest_in_another_proposal_changes_nothing"),
    ),
    Mutation(
        "proof",
        "evidence without a run passes for none",
        EVIDENCE,
        " if self.run else not self.passed\n",
        " if self.run else True\n",
        (f"{T_DOMAIN_RECORDS}::test_evidence_of_earlier_versions_tells_the_run_in_what_ready_found",),
    ),
    Mutation(
        "proof",
        "evidence is of this environment, model and path",
        LEDGER,
        "if (one.environment, one.model, one.section, one.digest) == of)",
        "if one.digest == digest)",
        (
            f"{T_LEDGER}::test_the_newest_evidence_for_its_own_path_counts",
            f"{T_LEDGER}::test_evidence_that_lies_under_the_key_of_another_environment_is_not_taken",
        ),
    ),
    Mutation(
        "proof",
        "what goes back without checks was verified as this version and run",
        "bot/domain/desired.py",
        "        return (self.version, self.digest, self.run) == (other.version, other.digest, other.run)\n",
        "        return self.digest == other.digest\n",
        (f"{T_DOMAIN_RECORDS}::test_only_the_very_entry_that_was_verified_needs_no_checks",),
    ),
    Mutation(
        "proof",
        "every entry of a commit is green",
        EVIDENCE,
        '    return bool(found) and all(one.state(now) == "green" for one in found)\n',
        '    return any(one.state(now) == "green" for one in found)\n',
        (f"{T_DOMAIN_RECORDS}::test_a_commit_is_green_where_the_newest_of_every_entry_is",),
    ),
    Mutation(
        "proof",
        "what proposes other bytes under a version keeps no evidence of it from being revoked",
        "bot/verbs/evidence.py",
        "    if passed and len({evidence.digest for evidence in of}) > 1:\n",
        "    if False:\n",
        (f"{T_EVIDENCE}::test_another_digest_under_the_same_version_does_not_keep_evidence_from_being_revoked",),
    ),
    Mutation(
        "proof",
        "a Git that the deadline killed was refused nothing",
        GIT,
        "            if isinstance(error.status, int) and error.status < 0:\n",
        "            if False:\n",
        (
            f"{T_GIT}::test_a_git_that_the_deadline_killed_did_not_answer_also_where_nobody_says_so",
            f"{T_GIT}::test_a_git_that_a_signal_ended_was_refused_nothing",
        ),
    ),
    Mutation(
        "proof",
        "a helper of Git that a signal ended was refused nothing",
        GIT,
        "|died of signal",
        "",
        (f"{T_GIT}::test_a_helper_of_git_that_a_signal_ended_was_refused_nothing",),
    ),
    Mutation(
        "proof",
        "the champion is the one that the gate compared with",
        ADMISSION,
        "        moved.append(words.champion_moved(evidence.champion, champion))\n",
        "        pass\n",
        (f"{T_EVIDENCE}::test_what_misses_against_the_version_really_in_service_is_held_and_rollback_leads_out",),
    ),
    Mutation(
        "proof",
        "the rules are those that were applied",
        ADMISSION,
        "            moved.append(words.rules_moved(change))\n",
        "            pass\n",
        (f"{T_EVIDENCE}::test_rules_that_changed_are_applied_and_revert_leads_out_of_a_first_version",),
    ),
    Mutation(
        "proof",
        "what failed here is held",
        ADMISSION,
        "    if quarantine is not None:\n",
        "    if quarantine is not None and False:\n",
        (f"{T_ROLLBACK}::test_a_revert_of_the_revert_is_held_until_somebody_lifts_and_then_needs_no_new_checks",),
    ),
    Mutation(
        "rollback",
        "one that was cut off is gone on with",
        "bot/verbs/deploy.py",
        "    desired, overruled = _go_on_back(run, unfinished, desired)\n",
        "    overruled: list[Change] = []\n",
        (f"{T_ROLLBACK}::test_now_that_was_cut_off_is_gone_on_with_and_not_undone",),
    ),
    Mutation(
        "rollback",
        "what is left is held before the switch",
        "bot/verbs/rollback.py",
        "                is_held = leave.try_to_hold(say)\n",
        "                is_held = False\n",
        (f"{T_ROLLBACK}::test_now_that_was_cut_off_is_gone_on_with_and_not_undone",),
    ),
    # What clients may do to a gateway.
    Mutation(
        "clients",
        "an offer of another protocol is ignored and the body kept",
        GATEWAY_PROTOCOL,
        "                data = self._head_without_upgrade() + data[upgrade.args[0] :]\n",
        "                data = self._head_without_upgrade()\n",
        (f"{T_UPGRADE}::test_an_offer_of_another_protocol_is_ignored_and_the_body_kept",),
    ),
    Mutation(
        "clients",
        "a body that a server lost is no body",
        GATEWAY_ASGI,
        "    if said is not None and len(body) != said:\n",
        "    if said is not None and len(body) != said and False:\n",
        (f"{T_UPGRADE}::test_uvicorns_own_protocol_loses_the_body_and_the_router_says_so",),
    ),
    Mutation(
        "clients",
        "all bodies share a budget",
        "bot/gateway/budget.py",
        "        if self.held_bytes + size > self.max_bytes:\n",
        "        if size > self.max_bytes:\n",
        (
            f"{T_LIMITS}::test_bodies_beyond_the_budget_are_refused_until_there_is_room",
            f"{T_LIMITS}::test_many_clients_with_unfinished_bodies_do_not_take_the_memory",
        ),
    ),
    Mutation(
        "clients",
        "answers count too",
        "bot/gateway/connection.py",
        "                self._admit(len(body))\n",
        "                pass\n",
        (f"{T_LIMITS}::test_answers_count_too_until_their_clients_have_read_them",),
    ),
    Mutation(
        "clients",
        "who does not read is left",
        GATEWAY_PROTOCOL,
        "            self._sending = self.loop.call_later(self.limits.answer_seconds, self.transport.abort)\n",
        "            pass\n",
        (f"{T_LIMITS}::test_answers_count_too_until_their_clients_have_read_them",),
    ),
    Mutation(
        "clients",
        "copies for shadows have a budget",
        "bot/gateway/shadow.py",
        "            held.take(len(body))\n",
        "            pass\n",
        (f"{T_LIMITS}::test_copies_for_shadows_have_a_budget_of_their_own",),
    ),
    Mutation(
        "clients",
        "headers are counted",
        GATEWAY_PROTOCOL,
        "        if len(self.headers) > limits.max_headers:\n",
        "        if len(self.headers) > limits.max_headers and False:\n",
        (f"{T_LIMITS}::test_a_head_that_is_too_large_is_refused",),
    ),
    Mutation(
        "clients",
        "bytes of headers are counted",
        GATEWAY_PROTOCOL,
        " and self._size_of_head() > limits.max_head_bytes:\n",
        " and False:\n",
        (f"{T_LIMITS}::test_a_head_that_is_too_large_is_refused",),
    ),
    Mutation(
        "clients",
        "bytes that are no header yet are counted",
        GATEWAY_PROTOCOL,
        "        if self._unparsed_bytes > self.limits.max_head_bytes:\n",
        "        if self._unparsed_bytes > self.limits.max_head_bytes and False:\n",
        (f"{T_LIMITS}::test_a_head_that_is_too_large_is_refused",),
    ),
    Mutation(
        "clients",
        "a request has a deadline",
        GATEWAY_PROTOCOL,
        '        self._refuse(408, "the request did not arrive whole in time")\n',
        "        return\n",
        (f"{T_LIMITS}::test_a_request_that_drips_is_ended",),
    ),
    Mutation(
        "clients",
        "a mounted router has a deadline for bodies",
        GATEWAY_ASGI,
        "            async with asyncio.timeout(seconds):\n",
        "            async with asyncio.timeout(seconds * 1000):\n",
        (f"{T_LIMITS}::test_a_mounted_router_ends_slow_bodies_under_any_server",),
    ),
    Mutation(
        "clients",
        "connections are counted",
        GATEWAY_PROTOCOL,
        "        if len(self.connections) > self.limits.max_connections:\n",
        "        if len(self.connections) > self.limits.max_connections and False:\n",
        (f"{T_LIMITS}::test_more_connections_than_allowed_are_refused",),
    ),
    Mutation(
        "clients",
        "a refusal answers no other request",
        GATEWAY_PROTOCOL,
        "            may_answer = self.cycle is None or self.cycle.response_complete\n",
        "            may_answer = True\n",
        (f"{T_LIMITS}::test_a_refusal_is_never_taken_for_the_answer_to_an_earlier_request",),
    ),
    Mutation(
        "clients",
        "errors name no address",
        GATEWAY_ASGI,
        "        answer = error_answer(STATUS_OF[type(error)], error.for_clients)\n",
        "        answer = error_answer(STATUS_OF[type(error)], str(error))\n",
        (f"{T_ADDRESSES}::test_no_error_names_what_is_behind_the_gateway",),
    ),
    Mutation(
        "clients",
        "a traceback stays behind the gateway",
        GATEWAY_ASGI,
        "    return replace(reply, body=body)\n",
        "    return reply\n",
        (f"{T_ADDRESSES}::test_a_traceback_of_a_python_backend_ends_at_the_gateway",),
    ),
    Mutation(
        "clients",
        "what is left over behind an answer ends the connection",
        "bot/gateway/connection.py",
        "        if self._answer is None or self._answer.done():\n            # Nobody asked",
        "        if self._answer is None:\n            # Nobody asked",
        (f"{T_ADDRESSES}::test_a_connection_with_bytes_left_over_is_not_used_again",),
    ),
    # The wire that is used is the wire that is checked.
    Mutation(
        "wire",
        "an element that is no text keeps its bytes",
        "bot/domain/smoke.py",
        "    except UnicodeDecodeError:\n        return value\n",
        '    except UnicodeDecodeError:\n        return value.decode(errors="backslashreplace")\n',
        ("tests/domain/test_binary.py::test_every_datatype_there_and_back",),
    ),
    Mutation(
        "wire",
        "staging is asked as gateways ask",
        "bot/verbs/checking.py",
        '        wrong += (f"{case.name}: {said}" for said in differences(case, answer, smoke.tolerance))\n',
        "        pass\n",
        ("tests/verbs/test_over_http.py",),
    ),
    Mutation(
        "wire",
        "what serves is asked as gateways ask",
        "bot/verbs/inspection.py",
        "(triton.infer, triton.infer_over_http) if triton.http else (triton.infer,)",
        "(triton.infer,)",
        ("tests/verbs/test_over_http.py",),
    ),
    Mutation(
        "wire",
        "gateways are asked in the binary form",
        "bot/systems/gateway.py",
        "            body, headers = binary.request(inputs, outputs)\n",
        '            body = json.dumps({"inputs": [tensor.to_json() for tensor in inputs]}).encode()\n'
        '            headers = {"Content-Type": "application/json"}\n',
        ("tests/systems/test_gateway.py::test_what_json_has_not_comes_through",),
    ),
    # What may be removed.
    Mutation(
        "retention",
        "what any Triton has stays",
        RETENTION,
        "frozenset(pair for pair in universe if pair in loaded or rules.is_kept(pair))",
        "frozenset(pair for pair in universe if rules.is_kept(pair))",
        (T_RETENTION,),
    ),
    Mutation(
        "retention",
        "a silent Triton may have anything",
        RETENTION,
        "removable = frozenset() if stock.silent else frozenset(stock.published) - kept",
        "removable = frozenset(stock.published) - kept",
        (T_RETENTION,),
    ),
    Mutation(
        "retention",
        "what a journal names stays",
        RETENTION,
        "        if pair in self._routed or self._is_journaled(pair) or path is None",
        "        if pair in self._routed or path is None",
        (T_RETENTION,),
    ),
    # What is absent.
    Mutation(
        "absence",
        "a missing file of desired state is an error",
        "bot/verbs/proposing.py",
        "    if found is None:\n        raise _missing(repository, environment, commit)\n",
        "    if found is None:\n        return Desired(environment=environment)\n",
        (LEAVES_BY_MISTAKE,),
    ),
    Mutation(
        "absence",
        "a pull request that moves desired state is red",
        "bot/verbs/leaving.py",
        "        raise InvalidInput(words.file_is_gone(environment, before, elsewhere), file=path)\n",
        "        after = Desired(environment=environment)\n",
        (LEAVES_BY_MISTAKE,),
    ),
    Mutation(
        "absence",
        "what leaves service without a mark is red",
        "bot/verbs/check.py",
        "    problems += [problem for one in leaving if (problem := leaving_words.problem(one))]\n",
        "",
        (LEAVES_BY_MISTAKE,),
    ),
    Mutation(
        "absence",
        "what leaves service without a mark is held",
        ADMISSION,
        "    if not change.retired:\n",
        "    if False:\n",
        (f"{T_DEPLOY}::test_only_a_model_that_the_file_retires_leaves_service",),
    ),
    Mutation(
        "absence",
        "a mark counts once",
        "bot/domain/retirement.py",
        "    if carried_out is None or not came_back or carried_out.reason != change.retired:\n",
        "    if carried_out is not None:\n",
        ("tests/domain/test_retirement.py::test_a_mark_counts_once_and_another_reason_is_another_mark",),
    ),
    Mutation(
        "absence",
        "a store is seen to be there before it is read",
        "bot/marked.py",
        "            if not self._look() and not self._in_use(self.root):\n",
        "            if not self._look() and not self.root.is_dir():\n",
        (T_MARKED,),
    ),
    Mutation(
        "absence",
        "a store of another environment is refused",
        "bot/domain/marker.py",
        "        if environment and self.environment and check_environment_name(environment) != self.environment:\n",
        "        if False:\n",
        (T_MARKED,),
    ),
    Mutation(
        "absence",
        "another prefix of a bucket is not an empty store",
        BUCKET,
        "        elif not self._ask(self._was_used):\n",
        "        elif False:\n",
        (f"{T_BUCKET}::test_another_prefix_is_unavailable_and_an_old_one_without_a_marker_is_read",),
    ),
    Mutation(
        "absence",
        "a gateway without routes on a share that is not mounted is not ready",
        "bot/gateway/core.py",
        "                if not await self._routes_file.is_new():\n",
        "                if False:\n",
        (f"{T_RELOAD}::test_without_a_file_a_gateway_starts_empty_and_takes_the_first_table",),
    ),
    Mutation(
        "absence",
        "an environment without desired state is a mistake",
        "bot/verbs/consistency.py",
        "    found += [_without_desired_state(name) for name in files.settings if name not in files.promotions]\n",
        "",
        ("tests/test_cli.py::test_an_environment_without_desired_state_is_a_mistake",),
    ),
    Mutation(
        "absence",
        "no environment is no success",
        "bot/settings.py",
        "    if not found:\n        raise InvalidInput(\n",
        "    if False:\n        raise InvalidInput(\n",
        ("tests/test_cli.py::test_no_environment_at_all_is_an_error_and_no_empty_success",),
    ),
    Mutation(
        "fence",
        "the journal of the latest turn counts",
        STATE,
        "            latest = max(self._journals(), default=None)\n",
        "            latest = min(self._journals(), default=None)\n",
        (f"{T_SHARE}::test_the_journal_of_the_latest_turn_is_the_one_that_counts",),
    ),
    # What a pull request may bring into the settings, and what a broken file must not keep from going back.
    Mutation(
        "proposed settings",
        "a mistake in them makes the verdict red",
        CHECK,
        "    problems += subject.settings.mistakes\n",
        "",
        (f"{T_CHECK_SETTINGS}::test_a_mistake_in_proposed_settings_is_red_with_file_line_and_key",),
    ),
    Mutation(
        "proposed settings",
        "a model needs its gate",
        "bot/verbs/consistency.py",
        "                if model not in settings.gates:\n",
        "                if False:\n",
        (f"{T_CONSISTENCY}::test_a_model_without_a_gate_is_a_mistake_on_either_path",),
    ),
    Mutation(
        "proposed settings",
        "one environment's folders are not another's",
        "bot/verbs/consistency.py",
        "            if touching and not shared and not of_one_share:\n",
        "            if False:\n",
        (f"{T_CONSISTENCY}::test_what_two_environments_must_not_share_is_a_mistake_of_the_second",),
    ),
    Mutation(
        "proposed settings",
        "a file from a pull request has a limit",
        "bot/systems/git.py",
        "            if int(size) > MAX_BYTES:\n",
        "            if False:\n",
        ("tests/systems/test_git.py::test_a_file_that_is_too_large_is_refused_before_it_is_read",),
    ),
    Mutation(
        "broken settings",
        "the way back leaves out what it does not need",
        "bot/settings.py",
        "            left_out.add(smallest)\n",
        "            raise mistake\n",
        (f"{T_SETTINGS}::test_the_way_back_goes_on_without_a_part_that_it_does_not_need",),
    ),
    Mutation(
        "broken settings",
        "the way back stops at what it needs",
        "bot/settings.py",
        "            if part in THE_WAY_BACK_NEEDS or not (",
        "            if not (",
        (f"{T_SETTINGS}::test_the_way_back_stops_at_a_part_that_it_needs_and_says_how_to_go_on",),
    ),
    Mutation(
        "broken settings",
        "a stand-in is never used as what the file says",
        "bot/settings.py",
        "        if not self.can_use(part):\n",
        "        if False:\n",
        (f"{T_SETTINGS}::test_a_part_that_is_wrong_gives_its_mistake_to_whoever_asks_for_it",),
    ),
    Mutation(
        "broken settings",
        "nothing new goes out by rules that could not be read",
        ADMISSION,
        "    if run.settings.mistakes:\n",
        "    if False:\n",
        (f"{T_ROLLBACK}::test_a_deployment_goes_back_and_nowhere_else_while_settings_are_broken",),
    ),
    # What a package may hold, and which bytes count.
    Mutation(
        "allow-list",
        "of the fields of a configuration: one that has no decision",
        "bot/domain/model_config.py",
        '        if decision is None:\n            yield f"{said}: is not known here, so it is refused"\n',
        "        if decision is None:\n",
        ("tests/domain/test_model_config.py::test_a_field_without_a_decision_is_refused",),
    ),
    Mutation(
        "allow-list",
        "of parameters, for each backend",
        "bot/domain/model_config.py",
        "                if key not in known and not OWN_PARAMETER.fullmatch(str(key)):\n",
        "                if key in REASONS:\n",
        ("tests/domain/test_model_config.py::test_what_a_configuration_may_not_say_is_named_with_the_reason",),
    ),
    Mutation(
        "allow-list",
        "of files: what a configuration names is listed",
        "bot/domain/model_config.py",
        "                if problem := _file_problem(str(name), path, backend, files):\n",
        '                if problem := "":\n',
        ("tests/domain/test_model_config.py::test_what_a_configuration_may_not_say_is_named_with_the_reason",),
    ),
    Mutation(
        "allow-list",
        "of the configuration, before the checks copy anything",
        PACKAGE_RULES,
        "    wrong = config_problems(config.values, files=names)\n",
        "    wrong: list[str] = []\n",
        (LIBRARY,),
    ),
    Mutation(
        "allow-list",
        "of what the record store calls green, before a deployment publishes anything",
        PUBLISHING,
        "        if contents is not None:\n",
        "        if False:\n",
        (f"{T_FORGED}::test_forged_evidence_runs_no_code_in_triton",),
    ),
    Mutation(
        "allow-list",
        "of what the record store calls verified, before a deployment publishes anything",
        PUBLISHING,
        "    if item.leaves is None:\n",
        "    if item.leaves is None and verified is None:\n",
        (f"{T_FORGED}::test_a_forged_record_of_a_verified_deployment_runs_no_code_in_triton",),
    ),
    Mutation(
        "contents",
        "of a way back that the share does not hold any more",
        PUBLISHING,
        "        look = look_at(package)\n",
        "        look = look_at(package) if verified is None else None\n",
        (f"{T_FORGED}::test_what_only_the_bytes_tell_is_refused_with_a_forged_record_too",),
    ),
    Mutation(
        "allow-list",
        "of a way back, before a rollback changes anything",
        "bot/verbs/rollback.py",
        "    if described is None:\n        refuse_what",
        "    if False:\n        refuse_what",
        (f"{T_FORGED}::test_neither_rollback_nor_a_deep_repair_brings_code_that_a_forged_record_calls_verified",),
    ),
    Mutation(
        "allow-list",
        "of a damaged way back, before a repair brings it onto the share again",
        "bot/verbs/deployment/restoration.py",
        "        if not in_service:\n",
        "        if False:\n",
        (f"{T_FORGED}::test_neither_rollback_nor_a_deep_repair_brings_code_that_a_forged_record_calls_verified",),
    ),
    Mutation(
        "allow-list",
        "of a package, before it is proposed",
        "bot/verbs/propose.py",
        "    refuse_what_is_not_allowed(settings, contents,",
        "    0 and refuse_what_is_not_allowed(settings, contents,",
        ("tests/verbs/test_check.py::test_a_package_that_brings_code_is_red_and_never_loaded",),
    ),
    Mutation(
        "allow-list",
        "a package that the rules refuse is to blame",
        "bot/verbs/deployment/item.py",
        "        self.to_blame = isinstance(error, NotAllowed)\n",
        "        self.to_blame = False\n",
        (f"{T_FORGED}::test_forged_evidence_runs_no_code_in_triton",),
    ),
    Mutation(
        "contents",
        "of a file, whatever it is called",
        "bot/domain/contents.py",
        "            if self._ending not in OWN_ENDINGS[kind]:\n",
        "            if not self._ending:\n",
        ("tests/domain/test_contents.py::test_what_is_code_is_found_under_any_name",),
    ),
    Mutation(
        "contents",
        "of what is copied to staging, before Triton is told to load it",
        COPYING,
        "        if self._contents is not None and (problem := self._contents.problem()):\n",
        '        if self._contents is not None and (problem := ""):\n',
        (LIBRARY,),
    ),
    Mutation(
        "contents",
        "of what READY hashes",
        CHECKING,
        'return whole, seen.problem() if whole and file in package.version_files else ""',
        'return whole, ""',
        (LIBRARY,),
    ),
    Mutation(
        "contents",
        "of an ONNX model: the files that keep its values are listed",
        "bot/domain/onnx_wire.py",
        "            if not self._is_listed(location):\n",
        "            if not location:\n",
        ("tests/domain/test_contents.py::test_every_file_that_a_model_names_is_listed",),
    ),
    Mutation(
        "contents",
        "of an ONNX model: no field's number is cut to another by who loads it",
        "bot/domain/onnx_wire.py",
        " or tag > _MAX_TAG:\n",
        ":\n",
        ("tests/domain/test_contents.py::test_a_field_number_that_is_cut_to_a_known_one_is_refused",),
    ),
    Mutation(
        "proof",
        "a version's metrics are of its run, whatever a folder of it is called",
        MLFLOW,
        "        if found and other and other.start() < found.start():\n",
        "        if found and other and other.start() < 0:\n",
        (f"{T_MLFLOW}::test_a_folder_of_a_run_that_is_called_like_a_loggedmodel_is_the_runs",),
    ),
    Mutation(
        "clients",
        "what follows a body is no header",
        GATEWAY_PROTOCOL,
        "            del self.headers[self._header_count :]  #",
        "            # del",
        ("tests/gateway/test_upgrade.py::test_what_follows_a_body_becomes_no_header",),
    ),
    Mutation(
        "digest",
        "of a document, before anybody uses it",
        "bot/systems/mlflow.py",
        "        if (len(content), hashlib.sha256(content).hexdigest()) != (file.size, file.sha256):\n",
        "        if not content:\n",
        ("tests/systems/test_mlflow.py::test_a_document_that_is_not_what_the_package_lists_is_never_returned",),
    ),
    Mutation(
        "size",
        "of a document that is read whole",
        "bot/systems/mlflow.py",
        "                if len(content) > limit:\n",
        "                if limit < 0:\n",
        ("tests/systems/test_mlflow.py::test_what_is_read_whole_has_a_limit",),
    ),
    Mutation(
        "size",
        "of what a server sends beyond the list",
        "bot/systems/mlflow.py",
        "                if size > file.size:\n                    return False\n",
        "                if size > 100 * file.size + 2**24:\n                    return False\n",
        ("tests/systems/test_mlflow.py::test_a_server_that_sends_more_than_is_listed_is_not_listened_to",),
    ),
    Mutation(
        "size",
        "of a package, before anything is downloaded",
        CHECKING,
        "    if not package.too_large(settings.packages.max_bytes):\n        yield from _bytes(contents)\n",
        "    yield from _bytes(contents)\n",
        ("tests/verbs/test_check.py::test_a_package_that_is_too_large_is_not_downloaded_and_not_copied",),
    ),
    Mutation(
        "whose metrics",
        "a version is registered for the LoggedModel whose files it has",
        MLFLOW,
        "        if named and named != (found and model):\n",
        "        if False:\n",
        (f"{T_MLFLOW}::test_a_version_that_is_registered_for_another_loggedmodel_than_its_files_has_no_metrics",),
    ),
    Mutation(
        "redaction",
        "of what is encoded twice, in digits or in lines",
        "bot/redaction.py",
        "*_encoded(values, text)])",
        "])",
        (f"{T_REDACTION}::{IN_DIGITS}",),
    ),
    Mutation(
        "size",
        "of what a model does before its first request",
        "bot/domain/model_config.py",
        ", *_too_much(config)]",
        "]",
        ("tests/domain/test_model_config.py::test_what_takes_more_than_a_model_needs_is_refused",),
    ),
    Mutation(
        "smoke cases",
        "that take any answer for right are refused by the rules",
        PACKAGE_RULES,
        "    if said := _wrong_with_smoke(contents):\n",
        "    if said := False:\n",
        ("tests/verbs/test_check.py::test_cases_that_take_any_answer_for_right_are_refused_everywhere",),
    ),
    Mutation(
        "smoke cases",
        "that take any answer for right are not packed",
        "bot/training/package.py",
        "    if problems := smoke_problems(cases):\n",
        "    if problems := []:\n",
        (
            "tests/training/test_package.py::test_a_tolerance_that_proves_nothing_is_refused_before_anything_is_written",
        ),
    ),
    Mutation(
        "smoke cases",
        "that take any answer for right are not registered",
        "bot/training/package.py",
        "    _check_smoke(directory / SMOKE_FILE)\n",
        "",
        ("tests/training/test_package.py::test_what_no_environment_would_take_is_said_before_it_is_registered",),
    ),
    Mutation(
        "contents",
        "a tar archive of before POSIX is one",
        "bot/domain/contents.py",
        '        if _is_tar(head) and not head.startswith(b"ustar", 257):\n',
        "        if False:\n",
        ("tests/domain/test_contents.py::test_what_is_code_is_found_under_any_name",),
    ),
    Mutation(
        "one model's fault",
        "a failure that names its model takes all back",
        BLAME,
        '        around = [f for f in of_none if f.item in ("", change.id)] or of_none[:1]\n',
        "        around = list(seen.failures)\n",
        (f"{T_BLAME}::test_what_names_its_model_takes_that_one_back_and_what_names_none_takes_all",),
    ),
    Mutation(
        "one model's fault",
        "a gateway that fails every model is every model's fault",
        BLAME,
        "    return len(asked) > 1 and asked <=",
        "    return len(asked) > 99 and asked <=",
        (f"{T_BLAME}::test_what_names_its_model_takes_that_one_back_and_what_names_none_takes_all",),
    ),
    Mutation(
        "one model's fault",
        "whatever goes back is to blame",
        BLAME,
        "any(f.kind in _BLAMES for f in named)",
        "bool(met)",
        (
            f"{T_BLAME}::test_a_single_model_is_named_by_its_own_proof",
            f"{T_DEPLOY}::test_a_gateway_that_refuses_the_reload_has_everything_put_back_and_no_digest_is_blamed",
        ),
    ),
    Mutation(
        "one model's fault",
        "a silent server takes the way back out of a mixed run",
        BLAME,
        '        if change.way_back and all(f.kind == "silent" for f in met):\n',
        "        if change.way_back and False:\n",
        (f"{T_BLAME}::test_the_way_back_is_never_blamed_nor_kept_closed_by_a_server_that_is_silent",),
    ),
    Mutation(
        "one model's fault",
        "the others are not switched again without the one that fails",
        SWITCHING,
        "        if not staying:\n            put_back(run, gone, before, underway=underway)\n",
        "        if leaving:\n            put_back(run, [*gone, *staying], before, underway=underway)\n",
        (f"{T_ONE_OF_MANY}::{ONE_OF_THREE}",),
    ),
    Mutation(
        "one model's fault",
        "what a server says of one model is said of none",
        SWITCHING,
        '    return Failure(kind, _key(server), text, item.id if item else "")\n',
        '    return Failure(kind, _key(server), text, "")\n',
        (f"{T_ONE_OF_MANY}::{ONE_OF_THREE}",),
    ),
    Mutation(
        "one model's fault",
        "a gateway that refuses routes does not name the models",
        "bot/gateway/core.py",
        'raise NotTaken("; ".join(problems.values()), models=tuple(problems))',
        'raise NotTaken("; ".join(problems.values()))',
        (f"{T_RELOAD}::test_a_table_that_contradicts_is_refused",),
    ),
    Mutation(
        "one model's fault",
        "what a Triton forgot when it crashed in another's load is blamed",
        BLAME,
        '    return state == "UNAVAILABLE" and reason not in',
        '    return state != "READY" and reason not in',
        (f"{T_BLAME}::test_a_load_failed_only_where_triton_says_so",),
    ),
    Mutation(
        "one model's fault",
        "new versions go out past a gateway that does not take the routes in force",
        SWITCHING,
        "        if gateway.name in todo.silent or gateway.name in behind\n",
        "        if gateway.name in todo.silent\n",
        (f"{T_DEPLOY}::test_a_gateway_that_refuses_the_reload_has_everything_put_back_and_no_digest_is_blamed",),
    ),
    Mutation(
        "one model's fault",
        "journals of before are read as if they went forward",
        "bot/domain/journal.py",
        "        if item.goes_back is None and self.going_back:\n",
        "        if False:\n",
        ("tests/domain/test_journal.py::test_a_journal_of_before_takes_all_back_and_blames_all",),
    ),
    Mutation(
        "one model's fault",
        "what a proxy answers in a gateway's place is the model's fault",
        "bot/systems/gateway.py",
        '            if "error" not in document:\n',
        "            if False:\n",
        ("tests/systems/test_gateway.py::test_who_refuses_is_told_apart",),
    ),
    Mutation(
        "a wrong blame",
        "lifting a run leaves its reverts open",
        "bot/verbs/proposing.py",
        "    github.close(pull.number)\n",
        "",
        (f"{T_ONE_OF_MANY}::{ONE_OF_THREE}",),
    ),
    Mutation(
        "a wrong blame",
        "a revert that somebody changed is closed",
        "bot/verbs/proposing.py",
        "    if commits_of_people(repository, pull.branch, main=repository.head(), tip=tip, ours=github.author()):\n",
        "    if False:\n",
        (f"{T_ONE_OF_MANY}::test_a_revert_that_somebody_changed_stays_open_and_an_unknown_run_is_refused",),
    ),
    # Secrets stay where they belong.
    Mutation(
        "credentials of a client",
        "the token of one environment, in the environment of the process",
        "bot/systems/mlflow.py",
        "        self._waits = httpx.Timeout(request_seconds)\n",
        "        self._waits = httpx.Timeout(request_seconds)\n        os.environ['MLFLOW_TRACKING_TOKEN'] = 'x'\n",
        (
            "tests/systems/test_mlflow.py::test_each_environment_sends_its_own_credentials",
            "tests/test_secrets.py::test_nothing_in_the_bot_writes_to_the_environment",
        ),
    ),
    Mutation(
        "credentials of a client",
        "those of the training job, at another server",
        "bot/systems/mlflow.py",
        "if theirs and web.origin(theirs) != web.origin(settings.uri):",
        "if not settings.uri:",
        ("tests/systems/test_mlflow.py::test_the_credentials_of_the_training_job_are_for_its_own_server",),
    ),
    Mutation(
        "a version's source",
        "an address on another host",
        "bot/systems/mlflow.py",
        '        if urlsplit(source).scheme in (*_OF_THE_SERVER, "mlflow-artifacts"):',
        "        if not source:",
        ("tests/systems/test_mlflow.py::test_a_version_cannot_send_the_bot_to_another_host",),
    ),
    Mutation(
        "no redirect",
        "of MLflow",
        "bot/web.py",
        "trust_env=False, proxy=proxy(url))",
        "trust_env=False, proxy=proxy(url), follow_redirects=True)",
        ("tests/systems/test_mlflow.py::test_nothing_follows_a_redirect",),
    ),
    Mutation(
        "no redirect",
        "of Git",
        "bot/systems/git.py",
        'GIT_CONFIG_VALUE_3="false"',
        'GIT_CONFIG_VALUE_3="true"',
        ("tests/systems/test_git.py::test_the_token_follows_no_redirect",),
    ),
    Mutation(
        "no redirect",
        "of Slack",
        "bot/systems/slack.py",
        'req.add_unredirected_header("Authorization", authorization)',
        'req.add_header("Authorization", authorization)',
        ("tests/systems/test_slack.py::test_the_token_follows_no_redirect",),
    ),
    Mutation(
        "Git's environment",
        "our secrets",
        "bot/systems/git.py",
        "if name not in ours and not _NEEDED.fullmatch(name))",
        "if name in ours and not name)",
        ("tests/systems/test_git.py::test_git_gets_none_of_our_secrets",),
    ),
    Mutation(
        "redaction",
        "of values",
        "bot/settings.py",
        'return value if kind == "name" else redaction.keep(value)',
        "return value",
        ("tests/test_secrets.py::test_servers_that_quote_requests_reveal_nothing",),
    ),
    Mutation(
        "redaction",
        "of errors",
        "bot/errors.py",
        "        message = redact(message)\n",
        "",
        ("tests/test_redaction.py::test_logs_and_errors_are_blanked",),
    ),
    Mutation(
        "redaction",
        "before a text is cut",
        "bot/redaction.py",
        "return redact(text)[:limit]",
        "return redact(text[:limit])",
        ("tests/test_redaction.py::test_a_text_is_cut_after_it_was_blanked",),
    ),
    Mutation(
        "redaction",
        "in base64",
        "bot/redaction.py",
        "[_spelt(core) for core in _in_base64(value)]",
        "[]",
        ("tests/test_redaction.py::test_a_secret_is_blanked_in_base64_also_as_a_part",),
    ),
    Mutation(
        "redaction",
        "percent-encoded",
        "bot/redaction.py",
        '    yield "".join(f"%(?:25)*(?i:{byte:02x})" for byte in character.encode())\n',
        "",
        ("tests/test_redaction.py::test_a_secret_is_blanked_however_it_is_written",),
    ),
    Mutation(
        "redaction",
        "of records",
        "bot/verbs/ledger.py",
        "redact(model.model_dump_json(indent=1))",
        "model.model_dump_json(indent=1)",
        ("tests/test_secrets.py::test_what_is_written_is_blanked",),
    ),
    Mutation(
        "redaction",
        "of comments",
        "bot/systems/github.py",
        "me, body = self.login(), redact(body)",
        "me = self.login()",
        ("tests/test_secrets.py::test_what_is_sent_is_blanked",),
    ),
    Mutation(
        "redaction",
        "of messages",
        "bot/systems/slack.py",
        "blocks = redact_all(message.blocks)",
        "blocks = list(message.blocks)",
        ("tests/test_secrets.py::test_what_is_sent_is_blanked",),
    ),
    Mutation(
        "a secret's text",
        "white space around it",
        "bot/domain/secret_text.py",
        "value = text.strip().strip(_INVISIBLE).strip()",
        "value = text",
        ("tests/domain/test_secret_text.py::test_white_space_around_a_secret_does_not_count",),
    ),
    Mutation(
        "a secret's text",
        "line breaks of a PEM as two characters",
        "bot/domain/secret_text.py",
        '.replace("\\\\n", "\\n")',
        "",
        ("tests/domain/test_secret_text.py::test_a_pem_is_understood_however_its_lines_are_written",),
    ),
    Mutation(
        "a secret's text",
        "a gateway's reload token",
        "bot/gateway/settings.py",
        'object.__setattr__(self, "reload_token", redaction.keep(token))',
        "redaction.keep(token)",
        ("tests/test_secrets.py::test_a_gateways_reload_token_is_cleaned_and_known",),
    ),
    # Only what was proposed, and by nobody alone.
    Mutation(
        "scope",
        "a branch of the bot changes one file",
        SCOPE,
        "    found = [path for path in paths if path != scope.file]\n",
        "    found: list[str] = []\n",
        (T_SCOPE,),
    ),
    Mutation(
        "scope",
        "and in it exactly what the bot writes",
        SCOPE,
        "        if after != (text if proposed else before):\n",
        "        if False:\n",
        (T_SCOPE,),
    ),
    Mutation(
        "scope",
        "what is besides makes the verdict red",
        CHECK,
        "    problems += [words.beside(subject.branch, subject.beside)] if subject.beside else []\n",
        "",
        (f"{T_PROPOSED}::test_code_on_the_bots_branch_makes_the_verdict_red_and_slack_refuse_it",),
    ),
    Mutation(
        "scope",
        "a button looks at the commit itself",
        DOING,
        "            if beside:\n",
        "            if False:\n",
        (f"{T_PROPOSED}::test_code_on_the_bots_branch_makes_the_verdict_red_and_slack_refuse_it",),
    ),
    Mutation(
        "scope",
        "one unreadable branch silences no other promotion",
        "bot/slack/follow.py",
        "            except InvalidInput as error:\n",
        "            except ZeroDivisionError as error:\n",
        (f"{T_PROPOSED}::test_a_file_that_cannot_be_read_on_one_branch_silences_no_other_promotion",),
    ),
    Mutation(
        "own proposal",
        "what nobody asked the bot for is not approved",
        DOING,
        "        if not proposers:\n",
        "        if False:\n",
        (f"{T_PROPOSED}::test_another_version_under_the_bots_name_is_what_nobody_asked_the_bot_for",),
    ),
    Mutation(
        "own proposal",
        "whoever asked is known from the records",
        DOING,
        "        if _is_one_of(settings, asked.user, slack=slack, github=github):\n",
        "        if False:\n",
        (f"{T_PROPOSED}::test_whoever_asked_by_another_way_or_another_account_does_not_approve",),
    ),
    Mutation(
        "own proposal",
        "who is not known on GitHub approves nothing",
        DOING,
        "        if asked.user not in settings.slack.github_logins:\n",
        "        if False:\n",
        (f"{T_PROPOSED}::test_without_a_known_login_nobody_approves",),
    ),
    Mutation(
        "own proposal",
        "the role counts in each environment that is touched",
        DOING,
        "                if environment in self._environments:\n",
        "                if False:\n",
        (f"{T_PROPOSED}::test_the_role_is_asked_for_in_every_environment_that_is_touched",),
    ),
    Mutation(
        "commits of people",
        "are not replaced in silence",
        PROPOSING,
        "            if theirs and not asking.replace:\n",
        "            if False:\n",
        (f"{T_PROPOSING}::test_a_persons_commit_on_our_branch_is_not_replaced_in_silence",),
    ),
    Mutation(
        "commits of people",
        "a forged name is known by what the commit says",
        PROPOSING,
        "    if not found and commits and what_is_beside(repository, branch, base=base, head=tip):\n",
        "    if False:\n",
        (f"{T_PROPOSING}::test_a_commit_that_calls_itself_the_bots_is_known_by_what_it_says",),
    ),
    Mutation(
        "owners",
        "everything has one but what the bot may propose",
        "bot/words/layout.py",
        "*                      OWNERS\n",
        "/.github/              OWNERS\n",
        ("tests/test_code_owners.py::test_everything_that_init_lays_out_is_owned_but_what_the_bot_may_propose",),
    ),
    Mutation(
        "trial",
        "a Triton that does not load on command says how to start it",
        TRITON,
        "            if _NOT_EXPLICIT in message:",
        "            if False:",
        (f"{T_TRIALS}::test_a_triton_that_does_not_load_on_command_is_named",),
    ),
    Mutation(
        "trial",
        "a Triton must tell what it can read from what is not there",
        TRITON,
        "        return self._refusal_of(trial) != self._refusal_of(nowhere)\n",
        "        return True\n",
        (f"{T_TRIALS}::test_triton_tells_a_trial_that_it_can_read_from_what_is_not_there",),
    ),
    Mutation(
        "trial",
        "what a Triton does not find is no fault of a version",
        TRITON,
        "            if any(words in message for words in _NOT_FOUND):\n",
        "            if False:\n",
        (f"{T_TRIALS}::test_triton_tells_a_trial_that_it_can_read_from_what_is_not_there",),
    ),
    Mutation(
        "trial",
        "an archived channel is named",
        SLACK,
        "        if archived:\n",
        "        if False:\n",
        (f"{T_TRIALS}::test_a_channel_where_nothing_can_be_said_is_named",),
    ),
    Mutation(
        "trial",
        "an archived repository is named",
        "bot/systems/github.py",
        "            if known.archived:\n",
        "            if False:\n",
        (f"{T_TRIALS}::test_an_archived_repository_is_named",),
    ),
    Mutation(
        "trial",
        "a share that keeps another mode is named",
        "bot/systems/share/trial.py",
        " & 0o777) != mode:\n",
        " & 0o777) < 0:\n",
        (f"{T_SHARE_TRIAL}::test_a_share_that_takes_a_mode_and_keeps_another_is_named",),
    ),
    Mutation(
        "trial",
        "a cleanup removes no trial that is under way",
        REPOSITORY,
        "                    if is_trial(path.name):\n",
        "                    if False:\n",
        (f"{T_SHARE_TRIAL}::test_while_a_trial_is_there_nobody_takes_it_for_a_model",),
    ),
    Mutation(
        "trial",
        "a record store that overwrites is named",
        RECORDS,
        "            except FileExistsError:\n                return\n",
        "            except FileExistsError:\n                pass\n            return\n",
        (f"{T_RECORDS}::test_a_store_that_does_not_hold_what_it_must_is_named",),
    ),
    Mutation(
        "trial",
        "a gateway tells of trials only",
        "bot/gateway/core.py",
        "isinstance(name, str) and _TRIAL.fullmatch(name)",
        "isinstance(name, str)",
        (f"{T_TRIALS}::test_a_gateway_is_asked_about_trials_only",),
    ),
    Mutation(
        "trial",
        "what one entry stands for has no more time than the others",
        "bot/verbs/trials.py",
        "        waiting.discard(id(one))\n",
        "        waiting.discard(id(one))\n        ends = clock() + 600\n",
        ("tests/verbs/test_trials.py::test_what_an_entry_stands_for_has_no_more_time_than_the_others",),
    ),
)


def run(matrix: Matrix) -> Iterator[Point]:
    """Yield a point for each control; its problem is that no test failed without it."""
    chosen = [m for m in matrix.some(MUTATIONS) if matrix.wants(m.control)]
    tests = sorted({test for mutation in chosen for test in mutation.tests})
    with tempfile.TemporaryDirectory(prefix="promobot-mutations-") as folder:
        untouched = Path(folder, "untouched")
        _copy(untouched)
        code, said = _pytest(untouched, tests)
        if code:
            yield Point("as it is", "the tests pass", [f"they do not ({code}): {said}"])
            return
        for number, mutation in enumerate(chosen):
            root = Path(folder, str(number))
            _copy(root)
            yield Point(f"without {mutation.control}", mutation.what, _survives(mutation, root))
            shutil.rmtree(root)


def _survives(mutation: Mutation, root: Path) -> list[str]:
    if problem := mutation.apply(root):
        return [problem]
    code, said = _pytest(root, mutation.tests)
    if code == FAILED:
        return []
    return ["no test failed without it" if code == 0 else f"its tests did not run ({code}): {said}"]


def _copy(root: Path) -> None:
    shutil.copytree(
        PROJECT, root, ignore=shutil.ignore_patterns(".git", ".venv", ".*_cache", ".hypothesis", "__pycache__")
    )


def _pytest(root: Path, tests: Iterable[str]) -> tuple[int, str]:
    options = ("-n0", "-x", "-q", "-p", "no:cacheprovider", "--no-header", "-m", "not long")
    command = [sys.executable, "-m", "pytest", *options, *tests]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=SECONDS, check=False)
    return done.returncode, " ".join(done.stdout.split()[-40:])


PART = Part("mutations", "each fsync, fence, digest check and proof removed in turn: a test fails each time", run)
