"""The supervisor's rules as stories: what is seen when, and what is to be done about it."""

from dataclasses import replace

import pytest

from ops.supervise.archives import ArchiveSeen
from ops.supervise.policy import (
    GiveUp,
    KillStopped,
    KillTorchServe,
    ModelSeen,
    Note,
    Pauses,
    Policy,
    Register,
    Revive,
    Seen,
    StartSite,
    StartTorchServe,
    Thresholds,
)
from ops.torchserve_api.predictions import Sign

FINE = ModelSeen(num_wanted=2, num_ready=2, num_alive=2)
DEAD = ModelSeen(num_wanted=2, num_ready=0, num_alive=0)
LOADING = ModelSeen(num_wanted=2, num_ready=0, num_alive=2)
OFF = ModelSeen(num_wanted=0, num_ready=0, num_alive=0)
BUSY = ModelSeen(num_wanted=2, num_ready=2, num_alive=2, num_pending=40)

ANSWER = {"en": Sign.ANSWER, "de": Sign.ANSWER}
REFUSAL = {"en": Sign.REFUSAL}
SILENCE = {"en": Sign.SILENCE}


def polled(model=None, signs=ANSWER, **others):
    """What a poll shows: the state of ``en`` and perhaps of other models, or no reply at all."""
    return Seen(was_polled=True, models=None if model is None else {"en": model} | others, signs=signs)


def absent(**archive):
    """A poll that finds ``en`` missing, with that *archive*, and another model as it should be."""
    return Seen(was_polled=True, models={"en": None, "de": FINE}, archives={"en": ArchiveSeen(**archive)}, signs=ANSWER)


def silent(start_s, end_s, share, step_s=2, **options):
    """Polls without a reply of a TorchServe that takes this *share* of a processor."""
    polls = {
        now_s: replace(polled(**options), torchserve_cpu_s=7.0 + share * now_s)
        for now_s in range(start_s, end_s, step_s)
    }
    return list(polls.items())


def run(policy, looks):
    """Everything the policy does about *looks*, (seconds, Seen), with the time, but for what it says."""
    done = []
    for now_s, seen in looks:
        done += [(now_s, action) for action in policy.decide(now_s, seen) if not isinstance(action, Note)]
    return done


def every(step_s, start_s, end_s, seen):
    return [(now_s, seen) for now_s in range(start_s, end_s, step_s)]


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        pytest.param(every(2, 0, 600, polled(FINE)), [], id="all is well"),
        pytest.param(every(2, 0, 600, Seen()), [], id="nothing was asked"),
        pytest.param([(5, Seen(torchserve_exit=-9))], [(5, StartTorchServe())], id="a dead JVM is started at once"),
        pytest.param([(5, Seen(site_exit=1))], [(5, StartSite())], id="so is a dead site"),
        pytest.param(
            [(5, Seen(torchserve_exit=1, site_exit=-9))], [(5, StartSite()), (5, StartTorchServe())], id="and both"
        ),
        pytest.param(
            [(5, Seen(torchserve_exit=1)), (6, Seen(torchserve_exit=1)), (6.5, Seen(torchserve_exit=1)),
             (7, Seen(torchserve_exit=1)), (8, Seen(torchserve_exit=1)), (9, Seen(torchserve_exit=1))],
            [(5, StartTorchServe()), (7, StartTorchServe())],
            id="one that keeps dying is started after longer and longer pauses",
        ),
        pytest.param(every(2, 0, 10, polled()), [], id="a short silence is borne"),
        pytest.param(every(2, 0, 12, polled()), [(10, KillTorchServe())], id="a long one is a hung JVM"),
        pytest.param(silent(0, 30, 1.0), [], id="one that is at work is slow, and not hung"),
        pytest.param(silent(0, 32, 1.0), [(30, KillTorchServe())], id="but not for ever"),
        pytest.param(silent(0, 32, 0.06), [(30, KillTorchServe())], id="on a busy machine it works little"),
        pytest.param(silent(0, 12, 0.04), [(10, KillTorchServe())], id="housekeeping is no work"),
        pytest.param(silent(0, 20, 0.06, step_s=1, signs=SILENCE), [], id="however often it is looked at"),
        pytest.param(
            [*silent(0, 2, 1.0), *((now_s, replace(polled(), torchserve_cpu_s=9.0)) for now_s in range(2, 14, 2))],
            [(10, KillTorchServe())],
            id="one that has worked until it hung",
        ),
        pytest.param(
            [*silent(0, 20, 1.0), *((now_s, replace(polled(), torchserve_cpu_s=27.0)) for now_s in range(20, 30, 2))],
            [(26, KillTorchServe())],
            id="one that hangs after it was slow",
        ),
        pytest.param(
            [*silent(0, 28, 1.0), (28, polled(FINE)), *silent(30, 56, 1.0)], [], id="a reply ends that, too"
        ),
        pytest.param([(3600, polled()), (3602, polled())], [], id="missed polls must be many, not only long ago"),
        pytest.param(
            [*every(2, 0, 8, polled()), (8, polled(FINE)), *every(2, 10, 18, polled())], [], id="a reply ends a silence"
        ),
        pytest.param(
            [(0, Seen(torchserve_exit=-9)), *every(2, 2, 60, polled())], [(0, StartTorchServe())],
            id="a JVM that starts is given time",
        ),
        pytest.param(
            [(0, Seen(torchserve_exit=-9)), *every(2, 2, 62, polled())],
            [(0, StartTorchServe()), (60, KillTorchServe())],
            id="but not for ever",
        ),
        pytest.param(every(1, 0, 15, polled(DEAD)), [], id="TorchServe restarts a worker by itself"),
        pytest.param(every(1, 0, 16, polled(DEAD)), [(15, Revive("en", 2))], id="unless it has given up"),
        pytest.param(every(2, 0, 119, polled(LOADING)), [], id="a worker may take long to load"),
        pytest.param(every(2, 0, 121, polled(LOADING)), [(120, Revive("en", 2))], id="but not for ever either"),
        pytest.param(every(2, 0, 600, polled(OFF, signs={})), [], id="an operator may scale to nothing"),
        pytest.param(
            [*every(1, 0, 16, polled(DEAD)), *every(1, 16, 46, polled(OFF))],
            [(15, Revive("en", 2)), (45, Revive("en", 2))],
            id="a revival that stuck half-way is not an operator's wish",
        ),
        pytest.param(
            every(1, 0, 200, polled(DEAD)),
            [(15, Revive("en", 2)), (45, Revive("en", 2)), (105, KillTorchServe()),
             (121, Revive("en", 2)), (151, Revive("en", 2))],
            id="when revivals do not help, TorchServe is restarted",
        ),
        pytest.param(
            every(1, 0, 500, polled(DEAD, de=FINE)),
            [(15, Revive("en", 2)), (45, Revive("en", 2)), (105, Revive("en", 2)), (225, Revive("en", 2)),
             (465, Revive("en", 2))],
            id="but not while another model answers",
        ),
        pytest.param(
            [(0, polled(DEAD)), (8, polled(FINE)), *every(1, 9, 23, polled(DEAD))], [], id="each death counts anew"
        ),
        pytest.param(every(2, 0, 60, polled(FINE, SILENCE)), [], id="an unanswered canary is borne"),
        pytest.param(
            every(2, 0, 62, polled(FINE, SILENCE)), [(60, KillTorchServe())],
            id="a minute of them is a hung inference API",
        ),
        pytest.param(every(2, 0, 600, polled(BUSY, SILENCE)), [], id="not when the queue is long"),
        pytest.param(every(2, 0, 600, polled(FINE, REFUSAL)), [], id="a refusal is a sign of life"),
        pytest.param(
            [*every(1, 0, 5, absent()), *every(2, 5, 600, polled(FINE))], [],
            id="someone may be replacing a model that is not registered",
        ),
        pytest.param(
            every(1, 0, 200, absent()),
            [(now_s, Register("en")) for now_s in (5, 10, 20, 40, 80, 140)],
            id="one that stays away is registered, again and again after longer and longer pauses",
        ),
        pytest.param(
            [*every(1, 0, 100, absent(problem="cut off")), *every(1, 100, 102, absent())], [(100, Register("en"))],
            id="as soon as its archive is whole",
        ),
        pytest.param(
            every(1, 0, 6, absent(problem="cut off", has_last_good=True)), [(5, Register("en"))],
            id="or from the last good one",
        ),
        pytest.param(
            every(2, 0, 600, replace(polled(FINE), archives={"en": ArchiveSeen(problem="cut off")})), [],
            id="an archive that is damaged while its model answers hurts nobody yet",
        ),
    ],
)  # fmt: skip
def test_what_is_done_about_what_is_seen(looks, expected):
    assert run(Policy(["en", "de"], now_s=0.0), looks) == expected


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        pytest.param(every(2, 0, 600, polled(FINE)), [], id="all is well"),
        pytest.param(
            [(5, Seen(torchserve_exit=-9))], [(5, GiveUp("TorchServe ended (killed by signal 9)"))], id="a dead JVM"
        ),
        pytest.param([(5, Seen(site_exit=1))], [(5, GiveUp("the site ended (exit status 1)"))], id="a dead site"),
        pytest.param(every(2, 0, 10, polled()), [], id="a short silence is borne"),
        pytest.param(
            every(2, 0, 12, polled()),
            [(10, KillTorchServe()), (10, GiveUp("TorchServe has not replied for 10 s"))],
            id="a hung JVM is ended before its site is waited for",
        ),
        pytest.param(silent(0, 30, 1.0), [], id="a slow one is waited for"),
        pytest.param(every(1, 0, 15, polled(DEAD)), [], id="TorchServe may restart a worker by itself"),
        pytest.param(
            [*every(1, 0, 14, polled(DEAD)), *every(1, 14, 60, polled(LOADING)), *every(1, 60, 99, polled(FINE))],
            [],
            id="and does",
        ),
        pytest.param(
            every(1, 0, 16, polled(DEAD)),
            [(15, GiveUp("model en has had no worker that is ready for 15 s", "en"))],
            id="unless it has given up",
        ),
        pytest.param(
            every(1, 0, 16, polled(DEAD, de=FINE)),
            [(15, GiveUp("model en has had no worker that is ready for 15 s", "en"))],
            id="also when another model answers",
        ),
        pytest.param(
            every(2, 0, 121, polled(LOADING)),
            [(120, GiveUp("model en has had no worker that is ready for 120 s", "en"))],
            id="a worker that never gets ready",
        ),
        pytest.param(every(2, 0, 600, polled(OFF, signs={})), [], id="an operator may scale to nothing"),
        pytest.param(
            every(1, 0, 6, absent()), [(5, GiveUp("model en is not registered with TorchServe", "en"))],
            id="a model that is lost",
        ),
        pytest.param(
            every(2, 0, 62, polled(FINE, SILENCE)),
            [(60, KillTorchServe()), (60, GiveUp("model en is ready and has not answered for 60 s"))],
            id="a hung inference API",
        ),
    ],
)  # fmt: skip
def test_without_restarts_it_gives_up_instead(looks, expected):
    assert run(Policy(["en", "de"], now_s=0.0, can_restart=False), looks) == expected


def test_every_event_is_told_once():
    policy = Policy(["en"], now_s=0.0)
    looks = [
        *every(2, 0, 6, polled(FINE)),
        *every(2, 6, 12, polled(DEAD)),
        *every(2, 12, 20, polled(FINE)),
        (20, Seen(torchserve_exit=-9)),
        *every(2, 22, 26, polled()),
        *every(2, 26, 30, polled(LOADING)),
        *every(2, 30, 40, polled(FINE)),
        *every(2, 40, 44, Seen(was_polled=True, models={"en": None})),
        (44, Seen(site_exit=3)),
    ]

    told = [action.text for now_s, seen in looks for action in policy.decide(now_s, seen) if isinstance(action, Note)]

    assert told == [
        "model en has no worker that is ready; TorchServe restarts it",
        "model en is ready again",
        "TorchServe ended (killed by signal 9); restarting it now",
        "model en is ready again",
        "model en is not registered with TorchServe",
        "the site ended (exit status 3); restarting it now",
    ]


def told(policy, looks):
    """All that the policy says about *looks*, with the time."""
    done = [(now_s, action) for now_s, seen in looks for action in policy.decide(now_s, seen)]
    return [(now_s, action.text) for now_s, action in done if isinstance(action, Note)]


def test_a_trouble_that_lasts_is_told_once_a_minute():
    lost, fine = absent(problem="en.mar: cut off"), replace(polled(FINE), archives={"en": ArchiveSeen()})
    damaged = [
        replace(polled(FINE), archives={"en": ArchiveSeen(problem="en.mar: cut off", has_last_good=has_last_good)})
        for has_last_good in (True, False)
    ]
    looks = [
        *every(1, 0, 70, lost),
        *every(1, 70, 80, fine),
        *every(1, 80, 90, lost),
        *every(1, 90, 160, damaged[0]),
        *every(1, 160, 170, fine),
        *every(1, 170, 180, damaged[1]),
    ]

    assert told(Policy(["en", "de"], now_s=0.0), looks) == [
        (0, "model en is not registered with TorchServe: en.mar: cut off"),
        (60, "model en is not registered with TorchServe: en.mar: cut off"),
        (70, "model en is ready again"),
        (80, "model en is not registered with TorchServe: en.mar: cut off"),
        (90, "en.mar: cut off; a restart of TorchServe would load the last good one"),
        (90, "model en is ready again"),
        (150, "en.mar: cut off; a restart of TorchServe would load the last good one"),
        (170, "en.mar: cut off; a restart of TorchServe would leave model en out"),
    ]


def test_a_slow_torchserve_is_told_once():
    assert told(Policy(["en"], now_s=0.0), [*silent(0, 28, 1.0), (28, polled(FINE)), *silent(30, 56, 1.0)]) == [
        (10, "TorchServe has not replied for 10 s and is at work; waiting for 30 s at most"),
        (38, "TorchServe has not replied for 10 s and is at work; waiting for 30 s at most"),
    ]


def test_pauses_grow_to_a_bound_and_start_over_after_a_calm():
    pauses = Pauses(Thresholds(first_pause_s=1.0, longest_pause_s=30.0, calm_s=60.0))

    in_a_row = [pauses.next_s(0.0) for _ in range(8)]
    after_a_calm = pauses.next_s(200.0)

    assert in_a_row == [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert after_a_calm == 0.0


def stopped(*pids):
    """A look without a poll that finds the processes *pids* stopped."""
    return Seen(stopped=dict.fromkeys(pids, "a worker of model en"))


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        pytest.param(every(1, 0, 4, stopped(41)), [(3, KillStopped(41))], id="one that stays stopped is ended"),
        pytest.param(
            [(0, stopped(41)), (2, stopped(41)), (2.5, stopped()), (3, stopped(41)), (5, stopped(41))],
            [],
            id="one that went on meanwhile is not",
        ),
        pytest.param(
            [(0, stopped(41)), (2, stopped(41, 42)), (3, stopped(42)), (4, stopped(42))],
            [],
            id="each has its own time",
        ),
        pytest.param(
            [(0, stopped(41)), (3, replace(polled(), stopped={41: "TorchServe"}))],
            [(3, KillStopped(41))],
            id="also while nothing replies",
        ),
    ],
)
@pytest.mark.parametrize("can_restart", [True, False])
def test_what_is_stopped_is_ended_after_a_while(looks, expected, can_restart):
    assert run(Policy(["en"], 0.0, can_restart=can_restart), looks) == expected


def test_what_is_stopped_is_named():
    policy = Policy(["en"], 0.0)
    policy.decide(0.0, stopped(41))

    assert policy.decide(3.4, stopped(41))[0] == Note(
        "a worker of model en (pid 41) has been stopped for 3 s; ending it"
    )
