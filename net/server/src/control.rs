//! The control task: the one place where the domain decides and the catalog changes.
//!
//! Guarantees: orders are taken one at a time, each a transaction; an order that was sent is carried to its
//! end whoever waits for it. What has to be done outside (send an image, tell a partner) comes out as
//! [`Command`]s for [`crate::hands`]; what becomes of that comes back as events. The task also keeps the
//! domain's time: it wakes when something is due by itself, and sees to it though orders never run out.

mod deeds;

use narrows_api::{ApiError, error::codes};
use narrows_domain::{
    Change, Command, Event, Moment, Operation, Partner, Primary,
    event::PoolEvent,
    import::Arrival,
    machine::{BackupAsk, BackupBegun},
    operation::Note,
    partner::ReceivePool,
    primary::{self, Applying, Working},
    retry,
    slp::{PartnerSlp, Slp, version::Plan},
    token::{Token, TokenPurpose},
};
use narrows_format::{DomainId, ImageId, PoolId, Sequence, record::CopyState};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{Duration, Instant, sleep},
};

mod arranging;
mod governing;

use crate::{
    Catalog, CatalogError,
    api::answer::{Failure, internal},
    doing::{Doing, Work},
    limits::{
        COMMANDS_MAX, CONTROL_MAILBOX, TELL_PAUSE_MAX, TELL_PAUSE_MIN, TICK_LATE_MAX, TICK_MAX, TICK_RETRY,
    },
    random,
    switches::Clock,
    time,
};

type Reply<T> = oneshot::Sender<Result<T, primary::Error<CatalogError>>>;

enum Order {
    Happened(Box<Event>, Reply<()>),
    PassOver(Box<PoolEvent>, Note, Reply<()>),
    PairingProved(Box<Partner>, ReceivePool, i64, Reply<Partner>),
    Put(Vec<Change>, Reply<()>),
    PutPartner(Box<Partner>, Reply<()>),
    Redeem { secret: [u8; 32], purpose: TokenPurpose, changes: Vec<Change>, reply: Reply<Token> },
    BeginBackup(Box<BackupAsk>, Option<Working>, Reply<BackupBegun>),
    Replicate { image: ImageId, partner: DomainId, import_slp: Option<String>, reply: Reply<Operation> },
    SlpsToAsk(Box<Slp>, Reply<Vec<(DomainId, String)>>),
    PlanSlp(Box<Slp>, Box<Applying>, Reply<Plan>),
    ApplySlp(Box<Slp>, Box<Applying>, Reply<Plan>),
    SlpForPartner { asker: DomainId, name: String, reply: Reply<PartnerSlp> },
    MaySend(DomainId, Reply<Partner>),
    Admit { pool: PoolId, arrival: Box<Arrival>, reply: Reply<CopyState> },
    Deed(deeds::Deed),
}

/// Sends orders to the control task; cheap to clone.
#[derive(Clone)]
pub struct Control {
    orders: mpsc::Sender<Order>,
}

/// What became of a record of a pool's image log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// Handled, now or before.
    Done,
    /// Records before it have not been handled: read on from behind this one.
    ReadFrom(Sequence),
    /// It can't be handled, now or later.
    Never(String),
}

/// A command, and the proof that somebody has it.
pub struct Ordered {
    /// What is to be done.
    pub command: Command,
    /// To be kept until its end has been told; only for what copies an image.
    pub work: Option<Work>,
}

/// What [`start`] started.
pub struct Started {
    /// To send orders.
    pub control: Control,
    /// What is to be done outside.
    pub commands: mpsc::Receiver<Ordered>,
    /// The task; it ends by itself when all [`Control`]s have gone.
    pub task: JoinHandle<()>,
}

/// Starts the control task. It first takes up what a stopped server left.
pub fn start(primary: Primary<Catalog>, clock: Clock) -> Started {
    let (orders, waiting) = mpsc::channel(CONTROL_MAILBOX);
    let (out, commands) = mpsc::channel(COMMANDS_MAX);
    let desk = Desk { primary, clock, out, doing: Doing::default(), is_behind: false };
    let task = tokio::spawn(desk.run(waiting));
    Started { control: Control { orders }, commands, task }
}

struct Desk {
    primary: Primary<Catalog>,
    clock: Clock,
    out: mpsc::Sender<Ordered>,
    doing: Doing,
    /// The catalog failed: what was left undone is done by a tick that comes soon.
    is_behind: bool,
}

impl Desk {
    async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        // Before it is known what was under way, nothing may be decided.
        while !self.recover().await {
            if orders.is_closed() {
                return;
            }
            sleep(TICK_RETRY).await;
        }
        // What has been due by itself since the last tick: orders go before it, and not for ever.
        let mut due: Option<Instant> = None;
        loop {
            let pause = self.pause().await;
            let soonest = Instant::now() + pause;
            let since = due.map_or(soonest, |due| due.min(soonest));
            due = Some(since);
            if since.elapsed() >= TICK_LATE_MAX {
                due = None;
                self.tick().await;
                continue;
            }
            tokio::select! {
                biased;
                order = orders.recv() => match order {
                    Some(order) => Box::pin(self.take(order)).await,
                    None => return,
                },
                () = sleep(pause) => {
                    due = None;
                    self.tick().await;
                }
            }
        }
    }

    async fn recover(&mut self) -> bool {
        let now = self.moment();
        let recovered = self.primary.recover(now).await;
        self.hand_out_or_log(recovered).await
    }

    async fn tick(&mut self) {
        self.is_behind = false;
        let doing = self.doing.clone();
        let is_under_way = move |key, attempt| doing.has(key, attempt);
        let now = self.moment();
        let taken_back = self.primary.take_back(is_under_way, now).await;
        self.hand_out_or_log(taken_back).await;
        let now = self.moment();
        let ticked = self.primary.handle(Event::Tick, now).await;
        self.hand_out_or_log(ticked).await;
    }

    /// Until something is due by itself.
    async fn pause(&self) -> Duration {
        if self.is_behind {
            // Whatever is wrong with the catalog shall not keep a core busy.
            return TICK_RETRY;
        }
        match self.primary.next_due().await {
            Ok(None) => TICK_MAX,
            Ok(Some(due)) => {
                let millis = time::millis_between(self.clock.now(), due).saturating_add(1);
                Duration::from_millis(u64::try_from(millis).unwrap_or(0)).min(TICK_MAX)
            }
            Err(error) => {
                log(&error);
                TICK_RETRY
            }
        }
    }

    async fn take(&mut self, order: Order) {
        let now = self.moment();
        match order {
            Order::Happened(event, reply) => {
                let outcome = self.primary.handle(*event, now).await;
                let outcome = self.hand_out(outcome).await;
                answer(reply, outcome);
            }
            Order::PassOver(event, reason, reply) => {
                let outcome = self.primary.pass_over(&event, reason, now).await;
                let outcome = self.hand_out(outcome).await;
                answer(reply, outcome);
            }
            Order::PairingProved(partner, pool, skew_ms, reply) => {
                match self.primary.pairing_proved(&partner, pool, skew_ms, now).await {
                    Ok((partner, commands)) => {
                        let outcome = self.hand_out(Ok(commands)).await;
                        answer(reply, outcome.map(|()| partner));
                    }
                    Err(error) => answer(reply, Err(error)),
                }
            }
            Order::Put(changes, reply) => answer(reply, self.primary.put(&changes).await),
            Order::PutPartner(partner, reply) => {
                let outcome = self.primary.put_partner(*partner, now).await;
                let outcome = self.hand_out(outcome).await;
                answer(reply, outcome);
            }
            Order::Redeem { secret, purpose, changes, reply } => {
                answer(reply, self.primary.redeem(&secret, purpose, &changes, now).await);
            }
            Order::BeginBackup(ask, working, reply) => {
                let begun = match ask.policy.as_str() {
                    "" => self.primary.begin_backup(&ask, now).await,
                    _ => self.primary.begin_policy_backup(&ask, working, now).await,
                };
                if let Err(Ok(unheard)) = reply.send(begun) {
                    let failure = retry::Failure::interrupted("the client went away before it began");
                    let (image, attempt) = (unheard.image.id, unheard.attempt);
                    let event = Event::BackupInterrupted { image, attempt, failure };
                    let freed = self.primary.handle(event, now).await;
                    self.hand_out_or_log(freed).await;
                }
            }
            Order::Replicate { image, partner, import_slp, reply } => {
                let outcome = self.primary.replicate(image, (partner, import_slp), now).await;
                self.hand_out_and_answer(outcome, reply).await;
            }
            Order::ApplySlp(slp, how, reply) => match self.primary.apply_slp(&slp, *how, now).await {
                Ok((plan, commands)) => {
                    let outcome = self.hand_out(Ok(commands)).await;
                    answer(reply, outcome.map(|()| plan));
                }
                Err(error) => answer(reply, Err(error)),
            },
            Order::Deed(deed) => {
                let (outcome, told) = deed(&mut self.primary, now).await;
                told(self.hand_out(outcome).await);
            }
            asking => self.tell(asking).await,
        }
    }

    /// Orders that change nothing.
    async fn tell(&mut self, order: Order) {
        let now = self.moment();
        match order {
            Order::SlpsToAsk(slp, reply) => answer(reply, self.primary.partner_slps_to_ask(&slp).await),
            Order::PlanSlp(slp, how, reply) => answer(reply, self.primary.plan_slp(&slp, *how, now).await),
            Order::SlpForPartner { asker, name, reply } => {
                answer(reply, self.primary.slp_for_partner(asker, &name).await);
            }
            Order::MaySend(sender, reply) => answer(reply, self.primary.may_send(sender).await),
            Order::Admit { pool, arrival, reply } => {
                answer(reply, self.primary.admit(pool, &arrival, now).await);
            }
            // `take` has dealt with all others.
            _ => {}
        }
    }

    async fn hand_out_and_answer<T>(
        &mut self,
        outcome: Result<(T, Vec<Command>), primary::Error<CatalogError>>,
        reply: Reply<T>,
    ) {
        let outcome = match outcome {
            Ok((answer, commands)) => self.hand_out(Ok(commands)).await.map(|()| answer),
            Err(error) => Err(error),
        };
        answer(reply, outcome);
    }

    async fn hand_out(
        &mut self,
        outcome: Result<Vec<Command>, primary::Error<CatalogError>>,
    ) -> Result<(), primary::Error<CatalogError>> {
        if let Some(setback) = self.primary.take_setback() {
            log(&setback);
            self.is_behind = true;
        }
        // Whether it was stored is not known: a tick looks.
        self.is_behind |= matches!(outcome, Err(primary::Error::Catalog(_)));
        for command in outcome? {
            let work = match &command {
                Command::Replicate(order) => Some(self.doing.begin(order.operation, order.attempt)),
                Command::Duplicate(order) => Some(self.doing.begin(order.operation, order.attempt)),
                _ => None,
            };
            // Nobody there to carry it out: the server is stopping, the next start takes it up.
            drop(self.out.send(Ordered { command, work }).await);
        }
        Ok(())
    }

    fn moment(&self) -> Moment {
        Moment { now: self.clock.now(), entropy: u64::from_le_bytes(random::bytes()) }
    }

    /// Whether it went well.
    async fn hand_out_or_log(&mut self, outcome: Result<Vec<Command>, primary::Error<CatalogError>>) -> bool {
        match self.hand_out(outcome).await {
            Ok(()) => true,
            Err(error) => {
                log(&error);
                false
            }
        }
    }
}

fn answer<T>(reply: Reply<T>, outcome: Result<T, primary::Error<CatalogError>>) {
    // Nobody waiting is no error: the caller hung up.
    drop(reply.send(outcome));
}

fn log(error: &primary::Error<CatalogError>) {
    tracing::error!(error = error as &dyn std::error::Error, "the control task met an error");
}

impl Control {
    async fn order<T>(&self, make: impl FnOnce(Reply<T>) -> Order) -> Result<T, Failure> {
        self.ask(make).await.map_err(Failure::from).and_then(|outcome| outcome.map_err(failure))
    }

    async fn ask<T>(
        &self,
        make: impl FnOnce(Reply<T>) -> Order,
    ) -> Result<Result<T, primary::Error<CatalogError>>, ApiError> {
        let stopping = || ApiError::new(codes::NOT_READY, "the server is stopping");
        let (reply, outcome) = oneshot::channel();
        self.orders.send(make(reply)).await.map_err(|_| stopping())?;
        outcome.await.map_err(|_| stopping())
    }

    /// Something happened.
    pub async fn happened(&self, event: Event) -> Result<(), Failure> {
        self.order(|reply| Order::Happened(Box::new(event), reply)).await
    }

    /// Something happened that nobody will say again: said until it is taken in, whatever the catalog
    /// does. A rule that refuses it, or the end of the server, ends that.
    pub async fn tell(&self, event: Event) {
        let mut pause = TELL_PAUSE_MIN;
        loop {
            match self.ask(|reply| Order::Happened(Box::new(event.clone()), reply)).await {
                Ok(Ok(())) => return,
                Ok(Err(error @ primary::Error::Catalog(_))) => log(&error),
                Ok(Err(error)) => return log(&error),
                Err(error) => return tracing::debug!(%error, "an event is left to the next start"),
            }
            sleep(pause).await;
            pause = (pause * 2).min(TELL_PAUSE_MAX);
        }
    }

    /// A record of a pool's image log was read.
    pub async fn logged(&self, event: Event) -> Result<Taken, Failure> {
        match self.ask(|reply| Order::Happened(Box::new(event), reply)).await? {
            Ok(()) => Ok(Taken::Done),
            Err(primary::Error::Gap { expected }) => Ok(Taken::ReadFrom(expected)),
            Err(primary::Error::Catalog(error)) if error.is_permanent() => {
                Ok(Taken::Never(innermost(&error)))
            }
            Err(error) => Err(failure(error)),
        }
    }

    /// A record can never be handled: it is listed with this reason, and passed.
    pub async fn pass_over(&self, event: PoolEvent, reason: Note) -> Result<(), Failure> {
        self.order(|reply| Order::PassOver(Box::new(event), reason, reply)).await
    }

    /// Both directions of a pairing with this partner, as it was then, were proved.
    pub async fn pairing_proved(
        &self,
        partner: Partner,
        receive_pool: ReceivePool,
        skew_ms: i64,
    ) -> Result<Partner, Failure> {
        self.order(|reply| Order::PairingProved(Box::new(partner), receive_pool, skew_ms, reply)).await
    }

    /// Stores rows that only people change.
    pub async fn put(&self, changes: Vec<Change>) -> Result<(), Failure> {
        self.order(|reply| Order::Put(changes, reply)).await
    }

    /// Stores a partner; its work is taken up or held back accordingly.
    pub async fn put_partner(&self, partner: Partner) -> Result<(), Failure> {
        self.order(|reply| Order::PutPartner(Box::new(partner), reply)).await
    }

    /// Uses a token and stores what it was for, both or neither (AUTH-004).
    pub async fn redeem(
        &self,
        secret: [u8; 32],
        purpose: TokenPurpose,
        changes: Vec<Change>,
    ) -> Result<Token, Failure> {
        self.order(|reply| Order::Redeem { secret, purpose, changes, reply }).await
    }

    /// A client begins a backup or goes on with one.
    pub async fn begin_backup(&self, ask: BackupAsk) -> Result<BackupBegun, Failure> {
        self.order(|reply| Order::BeginBackup(Box::new(ask), None, reply)).await
    }

    /// The same for the policy that it names, as a run of its agent or by hand.
    pub async fn begin_policy_backup(
        &self,
        ask: BackupAsk,
        working: Option<Working>,
    ) -> Result<BackupBegun, Failure> {
        self.order(|reply| Order::BeginBackup(Box::new(ask), working, reply)).await
    }

    /// A person asks for an image to be sent to a partner.
    pub async fn replicate(
        &self,
        image: ImageId,
        partner: DomainId,
        import_slp: Option<String>,
    ) -> Result<Operation, Failure> {
        self.order(|reply| Order::Replicate { image, partner, import_slp, reply }).await
    }

    /// The import SLPs that have to be looked up at partners before `slp` can be checked.
    pub async fn slps_to_ask(&self, slp: Slp) -> Result<Vec<(DomainId, String)>, Failure> {
        self.order(|reply| Order::SlpsToAsk(Box::new(slp), reply)).await
    }

    /// What applying an SLP would do.
    pub async fn plan_slp(&self, slp: Slp, how: Applying) -> Result<Plan, Failure> {
        self.order(|reply| Order::PlanSlp(Box::new(slp), Box::new(how), reply)).await
    }

    /// Applies an SLP.
    pub async fn apply_slp(&self, slp: Slp, how: Applying) -> Result<Plan, Failure> {
        self.order(|reply| Order::ApplySlp(Box::new(slp), Box::new(how), reply)).await
    }

    /// What a partner may know of one of our SLPs.
    pub async fn slp_for_partner(&self, asker: DomainId, name: String) -> Result<PartnerSlp, Failure> {
        self.order(|reply| Order::SlpForPartner { asker, name, reply }).await
    }

    /// Whether a domain may send here.
    pub async fn may_send(&self, sender: DomainId) -> Result<Partner, Failure> {
        self.order(|reply| Order::MaySend(sender, reply)).await
    }

    /// What to commit an arriving image with.
    pub async fn admit(&self, pool: PoolId, arrival: Arrival) -> Result<CopyState, Failure> {
        self.order(|reply| Order::Admit { pool, arrival: Box::new(arrival), reply }).await
    }
}

fn innermost(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}

/// As the API says it.
pub fn failure(error: primary::Error<CatalogError>) -> Failure {
    match error {
        primary::Error::Refused(refusal) => {
            ApiError::new(refusal.code, refusal.sentence).help(refusal.help).into()
        }
        other => internal(&other),
    }
}

#[cfg(test)]
mod tests {
    use narrows_domain::{partner::Trust, storage};

    use super::*;

    const DOMAIN: DomainId = DomainId([1; 16]);
    const PARTNER: DomainId = DomainId([2; 16]);

    /// Goal: what is due by itself is done though orders never run out.
    /// Method: more callers than the mailbox has room for, each with the next order when it has its answer; a partner that is silent is
    /// to be asked again after a second or two.
    #[tokio::test]
    async fn orders_do_not_keep_what_is_due_waiting_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(&folder.path().join("catalog.sqlite")).await.unwrap();
        let own = storage::Identity { domain: DOMAIN, incarnation: 1, name: "here".to_owned() };
        let Started { control, mut commands, task } =
            start(Primary::new(catalog, own), Clock::ahead_by_ms(0));
        let mut partner = Partner::half(PARTNER, 1, "there", time::now());
        partner.trust = Trust::Complete;
        control.put_partner(partner).await.unwrap();
        let (code, sentence) = (String::new(), "no answer".to_owned());
        control.happened(Event::PartnerDown { partner: PARTNER, code, sentence }).await.unwrap();
        let callers: Vec<_> = (0..2 * CONTROL_MAILBOX)
            .map(|_| {
                let control = control.clone();
                tokio::spawn(async move {
                    while control.happened(Event::PartnerChanged { partner: DOMAIN }).await.is_ok() {}
                })
            })
            .collect();
        let probe = async {
            while let Some(ordered) = commands.recv().await {
                if ordered.command == Command::Probe(PARTNER) {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), probe).await.expect("it is asked again, in time");
        callers.iter().for_each(tokio::task::JoinHandle::abort);
        drop(control);
        for caller in callers {
            drop(caller.await);
        }
        task.await.unwrap();
    }
}
