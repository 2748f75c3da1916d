//! The state machine against devices in memory.

use super::*;
use kusabi_api::admin::DeviceFilter;
use proptest::prelude::*;

fn asked(phases: Vec<Phase>) -> RolloutCreate {
    RolloutCreate {
        name: "test".parse().unwrap(),
        release: kusabi_api::Hex([7; 32]),
        devices: DeviceFilter::default(),
        phases,
        retries: 0,
        force: false,
        start_ms: None,
        deadline_secs: None,
    }
}

fn percents(parts: &[u8]) -> Vec<Phase> {
    parts
        .iter()
        .map(|part| Phase::new(PhaseSize::Percent(*part)))
        .collect()
}

fn plan(phases: Vec<Phase>) -> Plan {
    Plan::new(asked(phases)).unwrap()
}

#[test]
fn phases_by_percent_are_rounded_up_and_lose_nobody() {
    let bounds =
        |parts: &[u8], total| -> Vec<u64> { plan(percents(parts)).bounds(total).collect() };
    for (parts, total, at) in [
        (&[10, 40, 50][..], 0, &[0, 0, 0][..]),
        (&[10, 40, 50], 1, &[1, 1, 1]),
        (&[10, 40, 50], 2, &[1, 1, 2]),
        (&[10, 40, 50], 3, &[1, 2, 3]),
        (&[10, 40, 50], 10, &[1, 5, 10]),
        (&[33, 33, 34], 10, &[4, 7, 10]),
        (&[1, 99], 10_000, &[100, 10_000]),
        (&[100], u64::MAX, &[u64::MAX]),
    ] {
        assert_eq!(bounds(parts, total), at, "{parts:?} of {total}");
    }
    let mixed = plan(vec![
        Phase::new(PhaseSize::Count(3)),
        Phase::new(PhaseSize::Percent(10)),
        Phase::new(PhaseSize::Rest),
    ]);
    assert_eq!(mixed.bounds(2).collect::<Vec<_>>(), [2, 2, 2]);
    assert_eq!(mixed.bounds(25).collect::<Vec<_>>(), [3, 6, 25]);
    assert_eq!(mixed.phase_of(2, 25), Some(1));
    assert_eq!(mixed.phase_of(3, 25), Some(2));
    assert_eq!(mixed.phase_of(24, 25), Some(3));
    assert_eq!(mixed.phase_of(25, 25), None);
}

#[test]
fn plans_that_make_no_sense() {
    let refused = |change: &dyn Fn(&mut RolloutCreate), why: &str| {
        let mut create = asked(percents(&[100]));
        change(&mut create);
        let said = Plan::new(create).unwrap_err();
        assert!(said.contains(why), "{said}");
    };
    refused(&|c| c.phases = vec![], "1 to 16 phases");
    refused(&|c| c.phases = percents(&[1; 17]), "1 to 16 phases");
    refused(&|c| c.phases = percents(&[0, 100]), "1 to 100");
    refused(&|c| c.phases = percents(&[101]), "1 to 100");
    refused(&|c| c.phases = percents(&[60, 60]), "120 per cent");
    refused(&|c| c.phases = percents(&[60, 30]), "leave devices over");
    refused(
        &|c| c.phases = vec![Phase::new(PhaseSize::Count(5))],
        "leave devices over",
    );
    refused(
        &|c| c.phases = vec![Phase::new(PhaseSize::Count(0)), Phase::new(PhaseSize::Rest)],
        "no device",
    );
    refused(
        &|c| c.phases = vec![Phase::new(PhaseSize::Rest), Phase::new(PhaseSize::Count(1))],
        "nothing is left",
    );
    refused(&|c| c.phases[0].success_percent = 101, "100 per cent");
    refused(
        &|c| c.phases[0].failures = FailureLimit::Percent(101),
        "100 per cent",
    );
    refused(
        &|c| c.phases[0].start = PhaseStart::After(u64::MAX),
        "a year",
    );
    refused(&|c| c.retries = 11, "at most 10");
    refused(&|c| c.deadline_secs = Some(59), "deadline");
    refused(&|c| c.deadline_secs = Some(u64::MAX), "deadline");
    refused(
        &|c| c.devices.serials = vec!["x".parse().unwrap(); 101],
        "at most 100",
    );
    refused(
        &|c| c.devices.ids = vec!["x".into(); 1001],
        "at most 1000 devices",
    );
}

/// A device in memory.
#[derive(Clone, Debug)]
struct Unit {
    at: At,
    reason: Option<Why>,
    attempts: u64,
    ordered_ms: u64,
    /// Whether it has an order, or answered one last.
    has: bool,
}

/// A rollout whose database is a list.
#[derive(Clone, Debug)]
struct Bench {
    plan: Plan,
    standing: Standing,
    units: Vec<Unit>,
    now_ms: u64,
    obstacle: Option<RolloutReason>,
    orders: u64,
}

impl Bench {
    fn new(create: RolloutCreate, count: usize) -> Self {
        let unit = Unit {
            at: At::Waiting,
            reason: None,
            attempts: 0,
            ordered_ms: 0,
            has: false,
        };
        Self {
            plan: Plan::new(create).unwrap(),
            standing: Standing::new(),
            units: vec![unit; count],
            now_ms: 1_000_000,
            obstacle: None,
            orders: 0,
        }
    }

    fn turn(&mut self, which: impl Fn(&Unit) -> bool, to: At, reason: Option<Why>) {
        if self.standing.began_ms.is_none() {
            return;
        }
        for unit in &mut self.units {
            if which(unit) {
                self.standing.shift(unit.at, to, 1);
                if (unit.at, to) == (At::Ordered, At::Waiting) {
                    unit.attempts -= 1;
                }
                unit.has &= to != At::Waiting;
                unit.at = to;
                unit.reason = reason;
            }
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Begin => self.standing.enter(At::Waiting, self.units.len() as u64),
            Step::Order { below } => {
                assert_eq!(self.standing.state, RolloutState::Running);
                assert_eq!(below, self.standing.released);
                for unit in self.units.iter_mut().take(below as usize) {
                    if unit.at == At::Waiting {
                        self.standing.shift(At::Waiting, At::Ordered, 1);
                        unit.at = At::Ordered;
                        unit.attempts += 1;
                        unit.ordered_ms = self.now_ms;
                        unit.has = true;
                        self.orders += 1;
                    }
                }
            }
            Step::Overdue { until_ms } => self.turn(
                |unit| matches!(unit.at, At::Ordered | At::Sent) && unit.ordered_ms <= until_ms,
                At::Failed,
                Some(Why::Overdue),
            ),
            Step::Pause(_) => self.turn(|unit| unit.at == At::Ordered, At::Waiting, None),
            Step::Abort => self.turn(
                |unit| matches!(unit.at, At::Waiting | At::Ordered | At::Sent),
                At::Aborted,
                None,
            ),
            Step::Phase { .. } | Step::Resume | Step::Finish => {}
        }
        self.standing.apply(step, self.now_ms);
    }

    fn oldest(&self) -> Option<u64> {
        let open = self.units.iter();
        open.filter(|unit| matches!(unit.at, At::Ordered | At::Sent))
            .map(|unit| unit.ordered_ms)
            .min()
    }

    fn untried(&self) -> bool {
        let places = self.plan.places(&self.standing);
        places.is_some_and(|(from, below)| {
            let mut units = self.units[from as usize..below as usize].iter();
            units.all(|unit| unit.at == At::Skipped && unit.reason != Some(Why::Current))
        })
    }

    /// Goes on as far as it goes; the time that it waits for.
    fn settle(&mut self) -> Option<u64> {
        for _ in 0..64 {
            let seen = Seen {
                now_ms: self.now_ms,
                obstacle: self.obstacle,
                oldest_ms: self.oldest(),
                untried: self.untried(),
            };
            match next(&self.plan, &self.standing, &seen) {
                Next::Step(step) => self.take(step),
                Next::Wait(until) => {
                    assert!(until.is_none_or(|until| until > self.now_ms));
                    self.check();
                    return until;
                }
            }
        }
        panic!("it does not come to rest: {self:?}");
    }

    /// The device at this place says what became of its order.
    fn says(&mut self, place: usize, outcome: OrderState) {
        let unit = &mut self.units[place];
        if !unit.has {
            return;
        }
        let over = self.standing.is_over();
        let turned = answered(
            unit.at,
            unit.reason,
            unit.attempts,
            outcome,
            &self.plan,
            over,
        );
        if let Some((to, reason)) = turned {
            self.standing.shift(unit.at, to, 1);
            unit.has = to != At::Waiting;
            unit.at = to;
            unit.reason = reason;
        }
    }

    fn act(&mut self, act: Act) -> Result<bool, String> {
        match check(&self.plan, &self.standing, act)? {
            Some(step) => {
                self.take(step);
                self.settle();
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// What holds whenever it rests.
    fn check(&self) {
        let standing = &self.standing;
        let mut counts = RolloutCounts::default();
        for unit in &self.units {
            if standing.began_ms.is_some() {
                *counts.of_mut(unit.at) += 1;
            }
        }
        assert_eq!(counts, standing.counts, "what is kept is what there is");
        assert!(standing.released <= standing.total);
        for (place, unit) in (0..).zip(&self.units) {
            if place >= standing.released {
                assert!(matches!(unit.at, At::Waiting | At::Aborted | At::Skipped));
                assert_eq!(unit.attempts, 0, "nobody is ordered before its phase");
            }
            assert!(unit.attempts <= 1 + u64::from(self.plan.asked.retries));
        }
        match standing.state {
            RolloutState::Running => assert!(!standing.due, "who may have an order has one"),
            RolloutState::Paused => assert_eq!(counts.ordered, 0, "nothing is left lying about"),
            RolloutState::Done | RolloutState::Aborted => {
                assert_eq!(counts.waiting + counts.ordered + counts.sent, 0);
            }
            _ => {}
        }
    }

    fn ordered(&self) -> usize {
        let open = self.units.iter();
        open.filter(|unit| matches!(unit.at, At::Ordered | At::Sent))
            .count()
    }
}

#[test]
fn a_rollout_goes_through_its_phases_at_each_size() {
    for (count, sizes) in [
        (1, &[1][..]),
        (2, &[1, 1]),
        (3, &[1, 1, 1]),
        (10, &[1, 4, 5]),
    ] {
        let mut bench = Bench::new(asked(percents(&[10, 40, 50])), count);
        let mut place = 0;
        for size in sizes {
            assert_eq!(bench.settle(), None);
            assert_eq!(bench.standing.state, RolloutState::Running);
            assert_eq!(bench.ordered(), *size, "of {count}");
            for _ in 0..*size {
                bench.says(place, OrderState::Done);
                place += 1;
            }
        }
        bench.settle();
        assert_eq!(bench.standing.state, RolloutState::Done);
        assert_eq!(bench.standing.counts.done, count as u64);
    }
    let mut nobody = Bench::new(asked(percents(&[10, 90])), 0);
    nobody.settle();
    assert_eq!(nobody.standing.state, RolloutState::Done);
}

#[test]
fn as_many_failures_as_are_allowed_do_not_stop_it_and_one_more_does() {
    let mut phases = percents(&[50, 50]);
    phases[0].failures = FailureLimit::Percent(20);
    phases[0].success_percent = 80;
    let mut bench = Bench::new(asked(phases.clone()), 20);
    bench.settle();
    for place in 0..4 {
        bench.says(place, OrderState::Done);
    }
    // One of five is exactly 20 %.
    bench.says(4, OrderState::Failed);
    bench.settle();
    assert_eq!(bench.standing.state, RolloutState::Running);
    bench.says(5, OrderState::RefusedUnproven);
    bench.settle();
    assert_eq!(bench.standing.state, RolloutState::Paused);
    assert_eq!(bench.standing.reason, Some(RolloutReason::Failures));
    // Whoever resumes it has seen them: it is counted anew.
    assert_eq!(bench.act(Act::Resume), Ok(true));
    assert_eq!(bench.standing.state, RolloutState::Running);
    for place in 6..10 {
        bench.says(place, OrderState::Done);
        bench.settle();
    }
    // Eight of ten are exactly 80 %.
    assert_eq!(bench.standing.phase, 2);

    phases[0].failures = FailureLimit::Count(2);
    let mut bench = Bench::new(asked(phases), 20);
    bench.settle();
    for (place, state) in [
        (0, RolloutState::Running),
        (1, RolloutState::Running),
        (2, RolloutState::Paused),
    ] {
        bench.says(place, OrderState::Failed);
        bench.settle();
        assert_eq!(bench.standing.state, state);
    }
}

#[test]
fn when_all_fail_the_first_phase_is_the_last() {
    for count in [1_usize, 2, 3, 10] {
        let mut bench = Bench::new(asked(percents(&[10, 90])), count);
        bench.settle();
        bench.says(0, OrderState::Failed);
        bench.settle();
        // Of one device there is nothing left to be held back.
        let state = match count {
            1 => RolloutState::Done,
            _ => RolloutState::Paused,
        };
        assert_eq!((bench.standing.state, bench.orders), (state, 1));
    }
}

#[test]
fn a_device_is_ordered_again_as_often_as_it_may_be() {
    let mut create = asked(percents(&[100]));
    create.retries = 2;
    create.phases[0].failures = FailureLimit::Count(2);
    let mut bench = Bench::new(create, 2);
    bench.settle();
    for attempt in 1..=3 {
        assert_eq!(bench.units[0].attempts, attempt);
        bench.says(0, OrderState::Failed);
        bench.settle();
    }
    assert_eq!(bench.units[0].at, At::Failed);
    // What it cannot do it is not asked again.
    bench.says(1, OrderState::Unable);
    bench.settle();
    assert_eq!(bench.units[1].attempts, 1);
    assert_eq!(bench.standing.state, RolloutState::Done);
}

#[test]
fn phases_wait_for_devices_time_and_people() {
    let mut phases = vec![
        Phase::new(PhaseSize::Count(1)),
        Phase::new(PhaseSize::Count(1)),
        Phase::new(PhaseSize::Count(1)),
        Phase::new(PhaseSize::Rest),
    ];
    phases[1].start = PhaseStart::After(60);
    phases[2].start = PhaseStart::At(2_000_000);
    phases[3].start = PhaseStart::ByHand;
    let mut create = asked(phases);
    create.start_ms = Some(1_500_000);
    let mut bench = Bench::new(create, 4);
    let is = |bench: &Bench| awaits(&bench.plan, &bench.standing);
    assert_eq!(bench.settle(), Some(1_500_000));
    assert_eq!(is(&bench), Some(RolloutAwaits::Start));
    bench.now_ms = 1_500_000;
    assert_eq!(bench.settle(), None);
    assert_eq!(is(&bench), Some(RolloutAwaits::Devices));
    bench.says(0, OrderState::Done);
    assert_eq!(bench.settle(), Some(1_560_000));
    assert_eq!(is(&bench), Some(RolloutAwaits::Time));
    bench.now_ms = 1_560_000;
    bench.settle();
    bench.says(1, OrderState::Done);
    assert_eq!(bench.settle(), Some(2_000_000));
    // A clock that jumps.
    bench.now_ms = u64::MAX;
    bench.settle();
    bench.says(2, OrderState::Done);
    assert_eq!(bench.settle(), None);
    assert_eq!(is(&bench), Some(RolloutAwaits::Hand));
    assert_eq!(bench.standing.phase, 3);
    assert_eq!(bench.act(Act::Next), Ok(true));
    assert_eq!(bench.standing.phase, 4);
    assert!(bench.act(Act::Next).unwrap_err().contains("no phase"));
    bench.says(3, OrderState::Done);
    bench.settle();
    assert_eq!(bench.standing.state, RolloutState::Done);
}

#[test]
fn who_does_not_answer_is_waited_for_unless_there_is_a_deadline() {
    let mut create = asked(percents(&[100]));
    create.deadline_secs = Some(60);
    let mut bench = Bench::new(create, 2);
    assert_eq!(bench.settle(), Some(1_060_000));
    bench.units[0].at = At::Sent;
    bench.standing.shift(At::Ordered, At::Sent, 1);
    bench.now_ms = 1_060_000;
    bench.settle();
    assert_eq!(bench.standing.state, RolloutState::Done);
    assert_eq!(bench.units[0].reason, Some(Why::Overdue));
    // What it says later counts all the same.
    bench.says(0, OrderState::Done);
    assert_eq!(
        (bench.standing.counts.done, bench.standing.counts.failed),
        (1, 1)
    );

    let mut patient = Bench::new(asked(percents(&[100])), 2);
    patient.settle();
    patient.now_ms = u64::MAX;
    assert_eq!(patient.settle(), None);
    assert_eq!(patient.standing.state, RolloutState::Running);
}

#[test]
fn what_can_be_done_in_each_state() {
    let mut create = asked(percents(&[50, 50]));
    create.start_ms = Some(2_000_000);
    let scheduled = {
        let mut bench = Bench::new(create.clone(), 2);
        bench.settle();
        bench
    };
    let running = {
        let mut bench = scheduled.clone();
        bench.now_ms = 2_000_000;
        bench.settle();
        bench
    };
    let paused = {
        let mut bench = running.clone();
        assert_eq!(bench.act(Act::Pause), Ok(true));
        bench
    };
    let aborted = {
        let mut bench = running.clone();
        assert_eq!(bench.act(Act::Abort), Ok(true));
        bench
    };
    let done = {
        let mut bench = running.clone();
        for place in 0..2 {
            bench.says(place, OrderState::Done);
            bench.settle();
        }
        bench
    };
    assert_eq!(done.standing.state, RolloutState::Done);
    // Does something, changes nothing, is refused.
    let all = [Act::Pause, Act::Resume, Act::Next, Act::Abort];
    for (bench, expected) in [
        (&scheduled, ["does", "same", "no", "does"]),
        (&running, ["does", "same", "does", "does"]),
        (&paused, ["same", "does", "no", "does"]),
        (&aborted, ["no", "no", "no", "same"]),
        (&done, ["no", "no", "no", "no"]),
    ] {
        let state = bench.standing.state;
        for (act, expected) in all.into_iter().zip(expected) {
            let mut bench = bench.clone();
            let got = match bench.act(act) {
                Ok(true) => "does",
                Ok(false) => "same",
                Err(_) => "no",
            };
            assert_eq!(got, expected, "{act:?} of {state:?}");
        }
    }
    // One that had not begun begins when its time comes, not when it is resumed.
    let mut held = scheduled;
    held.act(Act::Pause).unwrap();
    held.now_ms = 3_000_000;
    assert_eq!(held.settle(), None);
    held.now_ms = 1_500_000;
    held.act(Act::Resume).unwrap();
    assert_eq!(held.standing.state, RolloutState::Scheduled);
    held.now_ms = 2_000_000;
    held.settle();
    assert_eq!(held.standing.state, RolloutState::Running);
}

#[test]
fn a_release_that_is_withdrawn_stops_it_at_once() {
    let mut bench = Bench::new(asked(percents(&[50, 50])), 4);
    bench.settle();
    bench.obstacle = Some(RolloutReason::Withdrawn);
    bench.settle();
    assert_eq!(bench.standing.reason, Some(RolloutReason::Withdrawn));
    assert_eq!(bench.ordered(), 0, "what nobody has is taken back");
    assert_eq!(bench.standing.counts.waiting, 4);
}

#[test]
fn a_phase_that_nobody_has_tried_does_not_open_the_next_one() {
    let mut phases = percents(&[20, 30, 50]);
    phases[1].start = PhaseStart::After(60);
    let mut bench = Bench::new(asked(phases), 10);
    bench.settle();
    assert_eq!(bench.ordered(), 2);
    bench.turn(|unit| unit.at == At::Ordered, At::Skipped, Some(Why::Moved));
    // The time of the next one has not come.
    let time = bench.settle().unwrap();
    assert_eq!(bench.standing.state, RolloutState::Running);
    bench.now_ms = time;
    assert_eq!(bench.settle(), None);
    assert_eq!(bench.standing.reason, Some(RolloutReason::Untried));
    assert_eq!((bench.standing.phase, bench.orders), (1, 2));
    assert!(bench.act(Act::Next).is_err());
    // Who resumes it wants the next one.
    assert_eq!(bench.act(Act::Resume), Ok(true));
    assert_eq!(bench.standing.state, RolloutState::Running);
    assert_eq!((bench.standing.phase, bench.ordered()), (2, 3));
    for place in 2..4 {
        bench.turn(|unit| unit.at == At::Ordered, At::Sent, None);
        bench.says(place, OrderState::Done);
    }
    // Two have tried it, and one has left: that is a phase like any other.
    bench.turn(|unit| unit.at == At::Sent, At::Skipped, Some(Why::Revoked));
    bench.settle();
    assert_eq!((bench.standing.phase, bench.ordered()), (3, 5));
    // Where nobody is left, nothing is held back.
    bench.turn(|unit| unit.at == At::Ordered, At::Skipped, Some(Why::Moved));
    bench.settle();
    assert_eq!(bench.standing.state, RolloutState::Done);
}

#[test]
fn who_runs_the_release_by_now_has_tried_it() {
    let mut bench = Bench::new(asked(percents(&[20, 80])), 10);
    bench.settle();
    bench.turn(
        |unit| unit.at == At::Ordered,
        At::Skipped,
        Some(Why::Current),
    );
    bench.settle();
    assert_eq!((bench.standing.phase, bench.ordered()), (2, 8));
}

#[derive(Clone, Debug)]
enum Does {
    Later(u64),
    Fetches(usize),
    Says(usize, OrderState),
    Leaves(usize),
    Act(Act),
    Withdrawn(bool),
}

fn does() -> impl Strategy<Value = Does> {
    let outcome = prop_oneof![
        4 => Just(OrderState::Done),
        1 => Just(OrderState::Failed),
        1 => Just(OrderState::RefusedStale),
        1 => Just(OrderState::Unable),
    ];
    let act = prop_oneof![
        1 => Just(Act::Pause),
        3 => Just(Act::Resume),
        2 => Just(Act::Next),
    ];
    prop_oneof![
        2 => (0..200_000_u64).prop_map(Does::Later),
        6 => any::<usize>().prop_map(Does::Fetches),
        8 => (any::<usize>(), outcome).prop_map(|(place, outcome)| Does::Says(place, outcome)),
        1 => any::<usize>().prop_map(Does::Leaves),
        2 => act.prop_map(Does::Act),
        1 => any::<bool>().prop_map(Does::Withdrawn),
    ]
}

fn creates() -> impl Strategy<Value = RolloutCreate> {
    let size = prop_oneof![
        (1..=25_u8).prop_map(PhaseSize::Percent),
        (1..=6_u64).prop_map(PhaseSize::Count),
    ];
    let start = prop_oneof![
        3 => Just(PhaseStart::AtOnce),
        1 => (0..200_u64).prop_map(PhaseStart::After),
        1 => (900_000..1_400_000_u64).prop_map(PhaseStart::At),
        1 => Just(PhaseStart::ByHand),
    ];
    let failures = prop_oneof![
        (0..=100_u8).prop_map(FailureLimit::Percent),
        (0..=4_u64).prop_map(FailureLimit::Count),
    ];
    let phase =
        (size, start, 0..=100_u8, failures).prop_map(|(size, start, success_percent, failures)| {
            Phase {
                size,
                start,
                success_percent,
                failures,
            }
        });
    let phases = proptest::collection::vec(phase, 1..5);
    let deadline = prop_oneof![2 => Just(None), 1 => (60..300_u64).prop_map(Some)];
    (phases, 0..3_u8, deadline).prop_map(|(mut phases, retries, deadline_secs)| {
        phases.last_mut().unwrap().size = PhaseSize::Rest;
        RolloutCreate {
            retries,
            deadline_secs,
            ..asked(phases)
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever happens in whatever order: what is kept is what there is, nobody is ordered before its phase or while it is held, and in
    /// the end, when everybody answers and somebody helps, it is done.
    #[test]
    fn whatever_happens_it_holds_together_and_ends(
        create in creates(),
        count in 0..24_usize,
        all in proptest::collection::vec(does(), 0..60),
        gives_up in any::<bool>(),
    ) {
        let mut bench = Bench::new(create, count);
        bench.settle();
        for one in all {
            let before = bench.orders;
            let held = bench.standing.state != RolloutState::Running;
            let mut resumes = false;
            match one {
                Does::Later(ms) => bench.now_ms += ms,
                Does::Fetches(place) | Does::Says(place, _) | Does::Leaves(place) if count > 0 => {
                    let place = place % count;
                    if bench.units[place].at == At::Ordered && !matches!(one, Does::Leaves(_)) {
                        bench.standing.shift(At::Ordered, At::Sent, 1);
                        bench.units[place].at = At::Sent;
                    }
                    match one {
                        Does::Says(_, outcome) => bench.says(place, outcome),
                        Does::Leaves(_) => {
                            let at = bench.units[place].at;
                            if matches!(at, At::Waiting | At::Ordered | At::Sent) {
                                bench.standing.shift(at, At::Skipped, 1);
                                bench.units[place].at = At::Skipped;
                            }
                        }
                        _ => {}
                    }
                }
                Does::Act(act) => {
                    resumes = true;
                    if act != Act::Resume || bench.obstacle.is_none() {
                        // It may be refused.
                        let _ = bench.act(act);
                    }
                }
                Does::Withdrawn(is) => bench.obstacle = is.then_some(RolloutReason::Withdrawn),
                _ => {}
            }
            bench.settle();
            if held && !resumes && bench.standing.began_ms.is_some_and(|began| began < bench.now_ms) {
                prop_assert_eq!(bench.orders, before, "one that is held gives no orders");
            }
        }
        if gives_up {
            let refused = bench.act(Act::Abort).is_err();
            prop_assert_eq!(refused, bench.standing.state == RolloutState::Done);
            prop_assert!(bench.standing.is_over());
            return Ok(());
        }
        bench.obstacle = None;
        for _ in 0..200 {
            if bench.standing.is_over() {
                break;
            }
            bench.now_ms += 1_000_000;
            for place in 0..count {
                if matches!(bench.units[place].at, At::Ordered | At::Sent) {
                    bench.says(place, OrderState::Done);
                }
            }
            bench.settle();
            match bench.standing.state {
                RolloutState::Paused => drop(bench.act(Act::Resume)),
                _ => drop(bench.act(Act::Next)),
            }
        }
        prop_assert_eq!(bench.standing.state, RolloutState::Done);
    }
}
