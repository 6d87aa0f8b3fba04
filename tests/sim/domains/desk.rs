//! The control task of a simulated server: everything goes through its `Primary`, one at a time, and what follows
//! is handed out.
//!
//! The catalog is the model's. Its futures are ready at once, so that power is lost between two decisions, or at a
//! transaction that was told to fail: then nothing more is decided until the power is back.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    future::poll_fn,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_util::future::{Either, select};
use narrows_domain::{
    Catalog as _, Command, Event, Moment, OperationState, Primary, WaitReason,
    barrier::Part,
    catalog::Beside as _,
    machine::Refusal,
    model::{Burnt, MemoryCatalog},
    moment::since,
    partner::{Reach, Trust},
    primary::Error,
};
use narrows_format::{Sequence, Timestamp};

use super::{
    hands,
    policies::{NAMES, POLICIES, at},
    server::{Power, Running, Server},
};

/// The server looks around at least this often.
const TICK_MAX: Duration = Duration::from_hours(1);
/// More ticks than this in one run do nothing but keep a processor busy.
const TICKS_MAX: u64 = 50_000;

/// What the model's futures give.
pub(super) fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("nothing in the model waits"),
    }
}

/// Why something was not done.
pub(super) enum NotDone {
    /// Nobody is there to do it.
    Off,
    Refused(Refusal),
    /// The log has to be read from there on.
    ReadFrom(Sequence),
}

/// Rung after each decision, so that the next time that is due is looked up anew.
#[derive(Default)]
pub(super) struct Bell {
    rung: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
}

impl Bell {
    fn ring(&self) {
        self.rung.set(true);
        if let Some(waker) = self.waiting.borrow_mut().take() {
            waker.wake();
        }
    }

    async fn heard(&self) {
        poll_fn(|context| {
            if self.rung.take() {
                return Poll::Ready(());
            }
            *self.waiting.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Server {
    pub(super) fn moment(&self) -> Moment {
        let mut entropy = [0; 8];
        self.world.entropy.fill(&mut entropy);
        Moment { now: self.now(), entropy: u64::from_le_bytes(entropy) }
    }

    /// By this server's clock.
    pub(super) fn now(&self) -> Timestamp {
        timestamp(self.world.clock.wall())
    }

    /// Something is decided; what follows is handed out.
    pub(super) fn order<T>(
        self: &Rc<Self>,
        decide: impl FnOnce(&mut Primary<MemoryCatalog>, Moment) -> Result<(T, Vec<Command>), Error<Burnt>>,
    ) -> Result<T, NotDone> {
        let running = self.running.borrow().clone();
        let Some(running) = running.filter(|_| matches!(self.power.get(), Power::Booting | Power::On)) else {
            return Err(NotDone::Off);
        };
        let moment = self.moment();
        let (outcome, is_cut) = self.with_primary(|primary| {
            let outcome = decide(primary, moment);
            (outcome, primary.take_setback().is_some())
        });
        if is_cut || matches!(outcome, Err(Error::Catalog(Burnt))) {
            self.tale.cut_transactions.up();
            self.power.set(Power::Failing);
            return Err(NotDone::Off);
        }
        running.bell.ring();
        let (answer, commands) = outcome.map_err(|error| match error {
            Error::Refused(refusal) => NotDone::Refused(refusal),
            Error::Gap { expected } => NotDone::ReadFrom(expected),
            Error::Catalog(Burnt) => NotDone::Off,
        })?;
        for command in commands {
            hands::take(self, &running, command);
        }
        self.look_around();
        Ok(answer)
    }

    pub(super) fn happened(self: &Rc<Self>, event: Event) -> Result<(), NotDone> {
        self.order(|primary, moment| Ok(((), ready(primary.handle(event, moment))?)))
    }

    /// Nobody says it again: a rule against it is a mistake.
    pub(super) fn tell(self: &Rc<Self>, event: Event) {
        let said = event.clone();
        match self.happened(event) {
            Ok(()) | Err(NotDone::Off) => {}
            Err(NotDone::Refused(refusal)) => self.complain(&format!("{said:?} was refused: {refusal}")),
            Err(NotDone::ReadFrom(_)) => self.complain(&format!("a gap before {said:?}")),
        }
    }

    pub(super) fn complain(&self, what: &str) {
        self.tale.complain(format!("{}: {what}", NAMES[self.at]));
    }

    /// Every wait has a reason and an end; what counts as arrived was let in over there.
    fn look_around(&self) {
        self.with_primary(|primary| {
            for operation in primary.catalog().all_operations() {
                let partner = operation.target.as_ref().map(|target| target.partner);
                match operation.state {
                    OperationState::Waiting(reason) => {
                        self.tale.waits.borrow_mut().insert(reason.as_str().to_owned());
                        let Some(domain) = partner.filter(|_| operation.next_try.is_none()) else { continue };
                        let barriers = ready(primary.catalog().barriers()).unwrap();
                        let is_tried =
                            |part: &Part| barriers.iter().any(|it| it.partner == domain && it.part == *part);
                        if operation.behind.as_ref().is_some_and(is_tried) {
                            continue;
                        }
                        let partner = ready(primary.catalog().partner(domain)).unwrap().unwrap();
                        let ends = match reason {
                            WaitReason::Pause => !ready(primary.catalog().slp_holds()).unwrap().is_empty(),
                            _ => ready(primary.catalog().running(domain)).unwrap() > 0,
                        };
                        // By the specification, 4.4 and 4.5; not by the rule that the machine has.
                        let is_free =
                            partner.trust == Trust::Complete && !partner.paused && partner.reach == Reach::Up;
                        if is_free && !ends {
                            self.complain(&format!("nothing ends the wait of {operation:?}"));
                        }
                    }
                    OperationState::PendingImport | OperationState::Complete => {
                        let Some(domain) = partner else { continue };
                        let image = operation.key.image;
                        if operation.state == OperationState::Complete {
                            let completed = &mut self.tale.completed.borrow_mut();
                            completed.entry((self.at, image, at(domain))).or_insert(self.sim.now());
                        }
                        let policy = self.tale.policies.borrow().get(&image).copied();
                        let goes_home = policy.is_some_and(|policy| POLICIES[policy].origin == at(domain));
                        if !goes_home && !self.tale.sealed.borrow().contains(&(at(domain), image)) {
                            self.complain(&format!("it never got there: {operation:?}"));
                        }
                    }
                    _ => {}
                }
            }
        });
    }

    /// Ticks when something is due by itself.
    pub(super) async fn keep_time(self: Rc<Self>, running: Rc<Running>) {
        loop {
            let due = self.with_primary(|primary| ready(primary.next_due()).unwrap());
            let pause = due.map_or(TICK_MAX, |due| since(due, self.now()) + Duration::from_millis(1));
            let sleep = running.worlds[0].clock.sleep(pause.min(TICK_MAX));
            match select(sleep, pin!(running.bell.heard())).await {
                Either::Left(_) if self.tick(&running).is_err() => return,
                Either::Left(_) | Either::Right(_) => {}
            }
        }
    }

    fn tick(self: &Rc<Self>, running: &Running) -> Result<(), NotDone> {
        self.tale.ticks.up();
        if self.tale.ticks.get() > TICKS_MAX {
            self.complain("it ticks for ever");
        }
        let under_way: BTreeSet<_> =
            running.sending.borrow().iter().map(|(key, (attempt, _))| (*key, *attempt)).collect();
        let has = |key, attempt| under_way.contains(&(key, attempt));
        self.order(|primary, moment| Ok(((), ready(primary.take_back(has, moment))?)))?;
        self.happened(Event::Tick)
    }
}

pub(super) fn timestamp(wall: Duration) -> Timestamp {
    Timestamp { seconds: i64::try_from(wall.as_secs()).unwrap(), nanos: wall.subsec_nanos() }
}
