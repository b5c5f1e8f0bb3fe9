"""Each alert comes when it should, alone, and does not come while everything is well; as the real promtool plays it."""

import json
import re

import pytest

from monitoring import MONITORING, promtool

RULES = MONITORING / "alerts.yml"
JOB = 'job="anchor-worker",instance="w"'

# Series that go on as they are, and those that count on. Nothing of it wakes anybody.
WELL = {
    'up{}': "1",
    "identity_worker_leads{}": "1",
    "identity_worker_healthy{}": "1",
    "identity_worker_refused{}": "0",
    "identity_worker_database_up{}": "1",
    "identity_worker_alarms_total{}": "0",
    "identity_worker_anchored_size{}": "900",
    # It failed now and then, and was done since.
    'identity_worker_failures_total{event="tombstones",kind="unavailable"}': "0+1x",
    'identity_worker_last_round_time_seconds{event="tombstones"}': "0+300x",
    'identity_worker_reencrypt_subjects{state="left"}': "500",
    'identity_worker_reencrypt_subjects{state="failed"}': "0",
    "identity_keys_unlocked{}": "1",
    "identity_recorder_running{}": "1",
    "identity_recorder_capacity{}": "4096",
    'identity_recorder_slots{state="held"}': "1000",
    'identity_recorder_slots{state="waiting"}': "1000",
    'identity_recorder_slots{state="set_aside"}': "0",
    "identity_reads_total{}": "0+6000x",
    'identity_denials_total{reason="consent"}': "0+60x",
    'identity_denials_total{reason="chain"}': "3",
    'identity_volume_callers{purpose="p",level="half"}': "2",
    "identity_limit_turned_away_total{}": "4",
    "identity_partitions_ahead{}": "3",
    'identity_ledger_oldest_seconds{state="unsealed"}': "600",
    'identity_ledger_oldest_seconds{state="unanchored"}': "1200",
    "identity_ledger_anchor_stale{}": "0",
    "identity_ledger_anchored_size{}": "900",
    'identity_erasures_oldest_seconds{state="open"}': "80000",
    'identity_erasures_oldest_seconds{state="unscrubbed"}': "80000",
    "identity_erasures_overdue{}": "0",
    "identity_outbox_dead{}": "0",
    "identity_outbox_oldest_seconds{}": "900",
    "identity_biometric_files_stuck{}": "0",
    'identity_sweep_last_seconds{sweep="retention"}': "86000",
    'identity_sweep_subjects{sweep="retention",state="failed"}': "0",
    'identity_retention_without_policy{vertical="general"}': "0",
    'identity_key_age_seconds{kind="dek"}': "7000000",
}

STEP, HOURS = 5, 3

# What is different when an alert comes. `None`: the series is not there.
ILL = {
    "IdentityWorkerGone": [{"up{}": "0"}, {"up{}": None}],
    "IdentityNobodyLeads": [{"identity_worker_leads{}": "0"}],
    "IdentityWorkerNotWell": [{"identity_worker_healthy{}": "0"}],
    "IdentityWorkerRefuses": [{"identity_worker_refused{}": "1"}],
    "IdentityAlarm": [{"identity_worker_last_alarm_time_seconds{}": str(HOURS * 3600 - 600)}],
    "IdentityDatabaseSilent": [{"identity_worker_database_up{}": "0"}],
    "IdentityTombstonesWait": [
        {'identity_worker_last_round_time_seconds{event="tombstones"}': "600"},
        # It was never done.
        {'identity_worker_last_round_time_seconds{event="tombstones"}': None},
    ],
    "IdentityReencryptStuck": [{'identity_worker_reencrypt_subjects{state="failed"}': "1"}],
    "IdentityLocked": [{"identity_keys_unlocked{}": "0"}],
    "IdentityRecorderDown": [{"identity_recorder_running{}": "0"}],
    "IdentityRecorderFilling": [{'identity_recorder_slots{state="waiting"}': "2500"}],
    "IdentityRowsSetAside": [{'identity_recorder_slots{state="set_aside"}': "1"}],
    "IdentityUnrecorded": [
        {'identity_denials_total{reason="chain"}': "0+1x"},
        # It has just occurred for the first time, and has no row from before.
        {'identity_denials_total{reason="recorder_full"}': "_x34 1 1"},
    ],
    "IdentityManyDenials": [{'identity_denials_total{reason="field_not_allowed"}': "0+2000x"}],
    "IdentityCallerAtCap": [{'identity_volume_callers{purpose="p",level="cap"}': "1"}],
    "IdentityLimitsFull": [{"identity_limit_turned_away_total{}": "0+1x"}],
    "IdentityPartitionsShort": [{"identity_partitions_ahead{}": "1"}],
    "IdentityNotSealed": [{'identity_ledger_oldest_seconds{state="unsealed"}': "1801"}],
    "IdentityNotAnchored": [{'identity_ledger_oldest_seconds{state="unanchored"}': "3601"}],
    "IdentityAnchorStale": [{"identity_ledger_anchor_stale{}": "1"}],
    "IdentityAnchorsDiffer": [{"identity_ledger_anchored_size{}": "899"}],
    "IdentityNoticesDead": [{"identity_outbox_dead{}": "1"}],
    "IdentityNoticesWait": [{"identity_outbox_oldest_seconds{}": "3601"}],
    "IdentityErasureLate": [{'identity_erasures_oldest_seconds{state="open"}': "172801"}],
    "IdentityErasureOverdue": [{"identity_erasures_overdue{}": "1"}],
    "IdentityScrubLate": [{'identity_erasures_oldest_seconds{state="unscrubbed"}': "172801"}],
    "IdentityFilesStuck": [{"identity_biometric_files_stuck{}": "1"}],
    "IdentitySweepMissed": [{'identity_sweep_last_seconds{sweep="retention"}': "129601"}],
    "IdentitySweepFailures": [{'identity_sweep_subjects{sweep="retention",state="failed"}': "2"}],
    "IdentityNoPolicy": [{'identity_retention_without_policy{vertical="general"}': "1"}],
    "IdentityKeyDue": [{'identity_key_age_seconds{kind="dek"}': "7776001"}],
}

# These wait for a day before they come.
SLOW = {"IdentityNoPolicy": 27}


def played(changes: dict, firing: list[str], hours: int = HOURS) -> dict:
    """Everything that fires in the end is what is expected, and no more."""
    steps = hours * 60 // STEP
    series = []
    for name, values in (WELL | changes).items():
        if values is None:
            continue
        metric, labels = name.rstrip("}").split("{")
        labels = ",".join(part for part in (labels, JOB) if part)
        values = values if "_x" in values else f"{values}{steps}" if values.endswith("x") else f"{values}x{steps}"
        series.append({"series": f"{metric}{{{labels}}}", "values": values})
    return {
        "interval": f"{STEP}m",
        "input_series": series,
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": f"{hours}h",
                "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in firing],
            }
        ],
    }


def play(directory, tests: list[dict]) -> None:
    # JSON is YAML.
    file = directory / "tests.yml"
    file.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": f"{STEP}m", "tests": tests}))
    promtool("test", "rules", file)


def test_the_rules_are_rules():
    assert f"{len(ILL)} rules found" in promtool("check", "rules", RULES)


def test_every_alert_is_played_and_says_where_to_look():
    text = RULES.read_text()
    assert set(re.findall(r"- alert: (\w+)", text)) == set(ILL)
    assert len(re.findall(r"labels: \{ severity: (?:page|ticket) \}", text)) == len(ILL)
    runbooks = re.findall(r"runbook: (\S+)", text)
    assert len(runbooks) == len(ILL)
    for runbook in runbooks:
        page, _, title = runbook.partition("#")
        page = MONITORING.parent / page
        titles = [re.sub(r"[^a-z0-9 -]", "", line.lstrip("# ").lower()).replace(" ", "-") for line in page.read_text().splitlines() if line.startswith("#")]
        assert not title or title in titles, runbook


def test_none_comes_while_all_is_well(tmp_path):
    play(tmp_path, [played({}, [], 30)])
    # The tool would have told: the same with one that comes.
    with pytest.raises(AssertionError, match="IdentityLocked"):
        play(tmp_path, [played({"identity_keys_unlocked{}": "0"}, [])])


def test_each_comes_on_what_it_is_for_and_no_other_does(tmp_path):
    play(tmp_path, [played(change, [alert], SLOW.get(alert, HOURS)) for alert, changes in ILL.items() for change in changes])
