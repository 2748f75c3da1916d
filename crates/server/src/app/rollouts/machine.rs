//! How a rollout goes on: what was asked for ([`Plan`]), where it stands ([`Standing`]), what follows ([`next`]). Pure: the clock and what
//! the database says come in, what is to be done comes out as a [`Step`], and what that moved goes back in.

use kusabi_api::admin::{
    AFTER_SECS_MAX, DEADLINE_SECS, FailureLimit, IDS_MAX, NAMED_MAX, OrderState, PHASES_MAX, Phase,
    PhaseSize, PhaseStart, RETRIES_MAX, RolloutAwaits, RolloutCounts, RolloutCreate,
    RolloutDeviceReason as Why, RolloutDeviceState as At, RolloutReason, RolloutState,
};

/// What was asked for, checked.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    asked: RolloutCreate,
}

impl Plan {
    /// Takes what makes sense.
    ///
    /// # Errors
    /// What does not, in a sentence.
    pub(crate) fn new(asked: RolloutCreate) -> Result<Self, String> {
        let count = asked.phases.len();
        if !(1..=PHASES_MAX).contains(&count) {
            return Err(format!(
                "a rollout has 1 to {PHASES_MAX} phases, not {count}"
            ));
        }
        let mut percent: u32 = 0;
        for (number, phase) in (1..).zip(&asked.phases) {
            match phase.size {
                PhaseSize::Percent(0 | 101..) => {
                    return Err(format!("phase {number} takes 1 to 100 per cent"));
                }
                PhaseSize::Percent(part) => percent += u32::from(part),
                PhaseSize::Count(0) => {
                    return Err(format!(
                        "phase {number} takes no device; it takes one at least"
                    ));
                }
                PhaseSize::Rest if number != count => {
                    return Err(format!(
                        "phase {number} takes the rest, so nothing is left for those after it"
                    ));
                }
                PhaseSize::Count(_) | PhaseSize::Rest => {}
            }
            if let PhaseStart::After(secs) = phase.start
                && secs > AFTER_SECS_MAX
            {
                return Err(format!(
                    "phase {number} begins more than a year after the one before"
                ));
            }
            let limit = match phase.failures {
                FailureLimit::Percent(part) => part,
                FailureLimit::Count(_) => 0,
            };
            if phase.success_percent > 100 || limit > 100 {
                return Err(format!("phase {number} names more than 100 per cent"));
            }
        }
        if percent > 100 {
            return Err(format!("the phases take {percent} per cent together"));
        }
        let ends = asked.phases.last().map(|last| last.size);
        if ends != Some(PhaseSize::Rest) && percent != 100 {
            return Err(String::from(
                "the phases may leave devices over; let the last one take the rest",
            ));
        }
        if asked.retries > RETRIES_MAX {
            return Err(format!("a device gets at most {RETRIES_MAX} further tries"));
        }
        if let Some(secs) = asked.deadline_secs
            && !DEADLINE_SECS.contains(&secs)
        {
            return Err(format!(
                "a deadline is {} to {} seconds",
                DEADLINE_SECS.start(),
                DEADLINE_SECS.end()
            ));
        }
        let named = asked.devices.types.len().max(asked.devices.serials.len());
        if named > NAMED_MAX {
            return Err(format!(
                "a filter names at most {NAMED_MAX} types and serials"
            ));
        }
        if asked.devices.ids.len() > IDS_MAX {
            return Err(format!(
                "a filter names at most {IDS_MAX} devices; put them into a group, and name that"
            ));
        }
        Ok(Self { asked })
    }

    /// What was checked when it was made.
    pub(crate) const fn kept(asked: RolloutCreate) -> Self {
        Self { asked }
    }

    pub(crate) const fn asked(&self) -> &RolloutCreate {
        &self.asked
    }

    /// How many of `total` devices the phases up to each one hold. Parts of a device are carried from phase to phase and rounded up.
    fn bounds(&self, total: u64) -> impl Iterator<Item = u64> {
        let mut hundredths: u128 = 0;
        let all = u128::from(total) * 100;
        self.asked.phases.iter().map(move |phase| {
            hundredths += match phase.size {
                PhaseSize::Percent(part) => u128::from(total) * u128::from(part),
                PhaseSize::Count(count) => u128::from(count) * 100,
                PhaseSize::Rest => all,
            };
            u64::try_from(hundredths.min(all).div_ceil(100)).unwrap_or(total)
        })
    }

    /// The phase of a place, from 1.
    pub(crate) fn phase_of(&self, place: u64, total: u64) -> Option<u16> {
        let at = self.bounds(total).position(|bound| place < bound)?;
        u16::try_from(at + 1).ok()
    }

    fn deadline_ms(&self) -> Option<u64> {
        self.asked
            .deadline_secs
            .map(|secs| secs.saturating_mul(1000))
    }

    /// The phase that begins next, and how many devices the phases up to it hold; those that add none are passed over.
    fn coming(&self, standing: &Standing) -> Option<(u16, u64, Phase)> {
        (1..)
            .zip(self.bounds(standing.total))
            .zip(&self.asked.phases)
            .map(|((number, bound), phase)| (number, bound, *phase))
            .find(|(number, bound, _)| *number > standing.phase && *bound > standing.released)
    }

    /// The places of the phase that began last: from the first one up to the second one, which is not among them.
    pub(crate) fn places(&self, standing: &Standing) -> Option<(u64, u64)> {
        let at = usize::from(standing.phase).checked_sub(1)?;
        let before = self.bounds(standing.total).take(at).last();
        Some((before.unwrap_or_default(), standing.released))
    }

    fn running(&self, standing: &Standing) -> Option<&Phase> {
        let at = usize::from(standing.phase).checked_sub(1)?;
        self.asked.phases.get(at)
    }
}

/// How many had their end when counting began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) finished: u64,
    pub(crate) failed: u64,
}

/// Where a rollout stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) state: RolloutState,
    pub(crate) reason: Option<RolloutReason>,
    /// Phases that have begun.
    pub(crate) phase: u16,
    /// Devices that have a place.
    pub(crate) total: u64,
    /// Places that the phases so far hold.
    pub(crate) released: u64,
    /// Whether devices at these places may be waiting for an order.
    pub(crate) due: bool,
    /// From where failures are counted.
    pub(crate) mark: Mark,
    pub(crate) counts: RolloutCounts,
    pub(crate) began_ms: Option<u64>,
    pub(crate) phase_ms: Option<u64>,
    pub(crate) ended_ms: Option<u64>,
}

/// What is seen from outside.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) now_ms: u64,
    /// Why the release may not go out.
    pub(crate) obstacle: Option<RolloutReason>,
    /// When the oldest order that was not answered was given.
    pub(crate) oldest_ms: Option<u64>,
    /// Every device of the phase that began last was skipped, and not because it runs the release by now.
    pub(crate) untried: bool,
}

/// What is to be done, in the database and then to the [`Standing`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The devices are chosen, once for all.
    Begin,
    /// Another phase begins.
    Phase { number: u16, released: u64 },
    /// Devices that wait at these places get an order; those that need or may have none are skipped.
    Order { below: u64 },
    /// Orders that were given up to this time, and have not been answered, are overdue.
    Overdue { until_ms: u64 },
    /// No orders any more; those that no device has are taken back.
    Pause(RolloutReason),
    /// It goes on.
    Resume,
    /// Every device has its end.
    Finish,
    /// Those that have not had theirs are left.
    Abort,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Step(Step),
    /// Nothing before this time, or before something happens.
    Wait(Option<u64>),
}

/// What a person can do to a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Pause,
    Resume,
    /// Begins the next phase now.
    Next,
    Abort,
}

impl Standing {
    pub(crate) fn new() -> Self {
        Self {
            state: RolloutState::Scheduled,
            reason: None,
            phase: 0,
            total: 0,
            released: 0,
            due: false,
            mark: Mark::default(),
            counts: RolloutCounts::default(),
            began_ms: None,
            phase_ms: None,
            ended_ms: None,
        }
    }

    /// Whether nothing can happen to it any more but answers that come late.
    pub(crate) const fn is_over(&self) -> bool {
        matches!(self.state, RolloutState::Done | RolloutState::Aborted)
    }

    const fn unanswered(&self) -> u64 {
        self.counts.ordered + self.counts.sent
    }

    const fn finished(&self) -> u64 {
        self.counts.done + self.counts.failed
    }

    /// So many devices came from nowhere.
    pub(crate) fn enter(&mut self, to: At, count: u64) {
        *self.counts.of_mut(to) += count;
    }

    /// So many devices went from one state to another.
    pub(crate) fn shift(&mut self, from: At, to: At, count: u64) {
        let left = self.counts.of_mut(from);
        *left = left.saturating_sub(count);
        self.enter(to, count);
        // Who waits again has a place that was released.
        self.due |= to == At::Waiting && count > 0;
    }

    fn too_many_failed(&self, limit: FailureLimit) -> bool {
        let failed = self.counts.failed.saturating_sub(self.mark.failed);
        let finished = self.finished().saturating_sub(self.mark.finished);
        match limit {
            FailureLimit::Percent(part) => {
                u128::from(failed) * 100 > u128::from(finished) * u128::from(part)
            }
            FailureLimit::Count(count) => failed > count,
        }
    }

    /// Whether so many of a hundred of those that were ordered have succeeded.
    fn enough_succeeded(&self, percent: u8) -> bool {
        let ordered = self.finished() + self.unanswered();
        u128::from(self.counts.done) * 100 >= u128::from(ordered) * u128::from(percent)
    }

    /// Does a step whose part in the database is done; the devices that it moved are counted apart.
    pub(crate) fn apply(&mut self, step: Step, now_ms: u64) {
        match step {
            Step::Begin => {
                self.state = RolloutState::Running;
                self.total = self.counts.waiting;
                self.began_ms = Some(now_ms);
            }
            Step::Phase { number, released } => {
                self.state = RolloutState::Running;
                self.reason = None;
                self.phase = number;
                self.released = released;
                self.phase_ms = Some(now_ms);
                self.due = true;
                self.marked();
            }
            Step::Order { .. } => self.due = false,
            Step::Overdue { .. } => {}
            Step::Pause(reason) => {
                self.state = RolloutState::Paused;
                self.reason = Some(reason);
            }
            Step::Resume => {
                self.state = match self.began_ms {
                    Some(_) => RolloutState::Running,
                    None => RolloutState::Scheduled,
                };
                self.reason = None;
                self.marked();
            }
            Step::Finish => self.end(RolloutState::Done, now_ms),
            Step::Abort => self.end(RolloutState::Aborted, now_ms),
        }
    }

    fn marked(&mut self) {
        self.mark = Mark {
            finished: self.finished(),
            failed: self.counts.failed,
        };
    }

    fn end(&mut self, state: RolloutState, now_ms: u64) {
        self.state = state;
        self.reason = None;
        self.due = false;
        self.ended_ms = Some(now_ms);
    }
}

/// What follows by itself.
pub(crate) fn next(plan: &Plan, standing: &Standing, seen: &Seen) -> Next {
    if standing.is_over() {
        return Next::Wait(None);
    }
    let held = standing.state == RolloutState::Paused;
    if let Some(reason) = seen.obstacle.filter(|_| !held) {
        return Next::Step(Step::Pause(reason));
    }
    if standing.began_ms.is_none() {
        return match plan.asked.start_ms {
            _ if held => Next::Wait(None),
            Some(at) if at > seen.now_ms => Next::Wait(Some(at)),
            _ => Next::Step(Step::Begin),
        };
    }
    let mut until = None;
    if let (Some(deadline), Some(oldest)) = (plan.deadline_ms(), seen.oldest_ms) {
        let at = oldest.saturating_add(deadline);
        if at <= seen.now_ms {
            let until_ms = seen.now_ms.saturating_sub(deadline);
            return Next::Step(Step::Overdue { until_ms });
        }
        until = Some(at);
    }
    // Before a pause: where nothing is left to be held back, none is needed.
    if standing.counts.waiting == 0 && standing.unanswered() == 0 {
        return Next::Step(Step::Finish);
    }
    if held {
        return Next::Wait(until);
    }
    let running = plan.running(standing);
    if running.is_some_and(|phase| standing.too_many_failed(phase.failures)) {
        return Next::Step(Step::Pause(RolloutReason::Failures));
    }
    if standing.due {
        let below = standing.released;
        return Next::Step(Step::Order { below });
    }
    let Some((number, released, phase)) = plan.coming(standing) else {
        return Next::Wait(until);
    };
    if running.is_some_and(|phase| !standing.enough_succeeded(phase.success_percent)) {
        return Next::Wait(until);
    }
    match opens(standing, &phase) {
        // None of none have succeeded. That is no reason to go on to more.
        Opens::At(at) if at <= seen.now_ms && seen.untried => {
            Next::Step(Step::Pause(RolloutReason::Untried))
        }
        Opens::At(at) if at <= seen.now_ms => Next::Step(Step::Phase { number, released }),
        Opens::At(at) => Next::Wait(Some(until.map_or(at, |until| until.min(at)))),
        Opens::ByHand => Next::Wait(until),
    }
}

enum Opens {
    At(u64),
    ByHand,
}

/// When the way into a phase opens.
fn opens(standing: &Standing, phase: &Phase) -> Opens {
    let before = standing.phase_ms.or(standing.began_ms).unwrap_or_default();
    match phase.start {
        PhaseStart::AtOnce => Opens::At(0),
        PhaseStart::After(secs) => Opens::At(before.saturating_add(secs.saturating_mul(1000))),
        PhaseStart::At(at) => Opens::At(at),
        PhaseStart::ByHand => Opens::ByHand,
    }
}

/// What it waits for; nothing where it is paused or over.
pub(crate) fn awaits(plan: &Plan, standing: &Standing) -> Option<RolloutAwaits> {
    match standing.state {
        RolloutState::Scheduled => return Some(RolloutAwaits::Start),
        RolloutState::Running => {}
        _ => return None,
    }
    let coming = plan.coming(standing);
    let running = plan.running(standing);
    Some(match coming {
        Some((.., phase))
            if running.is_none_or(|now| standing.enough_succeeded(now.success_percent)) =>
        {
            match opens(standing, &phase) {
                Opens::ByHand => RolloutAwaits::Hand,
                Opens::At(_) => RolloutAwaits::Time,
            }
        }
        _ => RolloutAwaits::Devices,
    })
}

/// Whether a person can do this to it now, and what it is; `None`: it is so already.
///
/// # Errors
/// Why not, in a sentence.
pub(crate) fn check(plan: &Plan, standing: &Standing, act: Act) -> Result<Option<Step>, String> {
    let is = standing.state.name();
    match (act, standing.state) {
        (Act::Abort, RolloutState::Aborted)
        | (Act::Pause, RolloutState::Paused)
        | (Act::Resume, RolloutState::Running | RolloutState::Scheduled) => Ok(None),
        (_, RolloutState::Done | RolloutState::Aborted) => Err(format!(
            "the rollout is {is}: nothing can be done to it any more"
        )),
        (Act::Abort, _) => Ok(Some(Step::Abort)),
        (Act::Pause, _) => Ok(Some(Step::Pause(RolloutReason::Operator))),
        // It was the next one's turn, and who resumes it has seen why it did not begin.
        (Act::Resume, _) if standing.reason == Some(RolloutReason::Untried) => {
            let coming = plan.coming(standing);
            Ok(Some(
                coming.map_or(Step::Resume, |(number, released, _)| Step::Phase {
                    number,
                    released,
                }),
            ))
        }
        (Act::Resume, _) => Ok(Some(Step::Resume)),
        (Act::Next, RolloutState::Running) => match plan.coming(standing) {
            Some((number, released, _)) => Ok(Some(Step::Phase { number, released })),
            None => Err(String::from(
                "no phase is left to begin; the rollout waits for its devices",
            )),
        },
        (Act::Next, _) => Err(format!(
            "the rollout is {is}: a phase begins while it is running"
        )),
    }
}

/// What a device's answer makes of it: its state and reason; `None`: it stays as it is.
pub(crate) fn answered(
    at: At,
    reason: Option<Why>,
    attempts: u64,
    outcome: OrderState,
    plan: &Plan,
    over: bool,
) -> Option<(At, Option<Why>)> {
    let open = matches!(at, At::Ordered | At::Sent);
    // Where it was given up, what the device says counts all the same.
    let given_up = matches!(at, At::Skipped | At::Aborted)
        || (at == At::Failed && reason == Some(Why::Overdue));
    if !open && !given_up {
        return None;
    }
    let why = match outcome {
        OrderState::Done => return Some((At::Done, None)),
        OrderState::Failed => Why::Failed,
        OrderState::RefusedStale => Why::RefusedStale,
        OrderState::RefusedUnproven => Why::RefusedUnproven,
        OrderState::Unable => Why::Unable,
        _ => return None,
    };
    // What cannot be done cannot be done the next time.
    let again = open && !over && why != Why::Unable && attempts <= u64::from(plan.asked.retries);
    Some(match again {
        true => (At::Waiting, Some(why)),
        false => (At::Failed, Some(why)),
    })
}

#[cfg(test)]
mod tests;
