//! What clients, partners and people ask for and get an answer to at once.

use narrows_format::record::CopyState;
use narrows_format::{DomainId, ImageId, PoolId, Timestamp};

use super::{Done, Primary, parting::check_stays};
use crate::catalog::Catalog;
use crate::event::{Change, Command, Decision};
use crate::image::ImageCopy;
use crate::import::Arrival;
use crate::limits::IDENTITY_SECONDS_MAX;
use crate::machine::backup::{self, BackupAsk, BackupBegun, BeginView};
use crate::machine::placing::nearest;
use crate::machine::replication::{self, Asker};
use crate::machine::{Refusal, arrival};
use crate::moment::Moment;
use crate::operation::Operation;
use crate::policy::Policy;
use crate::recall::Recall;
use crate::storage::spans;

impl<C: Catalog> Primary<C> {
    /// A client begins a backup, or resumes the unfinished one of the same lineage.
    pub async fn begin_backup(&mut self, ask: &BackupAsk, moment: Moment) -> Done<BackupBegun, C> {
        let (begun, decision) = self.plan_backup(ask, None, moment).await?;
        self.store(&decision.changes).await?;
        Ok(begun)
    }

    /// What beginning a backup does; for a policy, under its lifecycle and classification.
    pub(super) async fn plan_backup(
        &self,
        ask: &BackupAsk,
        policy: Option<&Policy>,
        moment: Moment,
    ) -> Done<(BackupBegun, Decision), C> {
        let lineage = ask.lineage(self.own.domain);
        let newest = match policy.and_then(Policy::bare_lifecycle) {
            Some(bare) => Some(bare),
            None => self.ask(self.catalog.slp(&ask.slp, None)).await?,
        };
        let base = self.ask(self.catalog.latest_whole(lineage)).await?;
        let units = self.ask(self.catalog.storage_units()).await?;
        let groups = self.ask(self.catalog.storage_unit_groups()).await?;
        let pools = self.ask(self.catalog.pools()).await?;
        let busy = self.busy().await?;
        let free = self.free_second(&ask.client_name, moment.now).await?;
        let unfinished = match self.ask(self.catalog.unfinished(lineage)).await? {
            Some(image) => Some(self.load_image(image.id).await?),
            None => None,
        };
        let unfinished = unfinished.as_ref().and_then(|loaded| {
            loaded.image.as_ref().map(|image| (image, loaded.operations.as_slice(), loaded.slp.as_ref()))
        });
        let view = BeginView {
            own: &self.own,
            newest: newest.as_ref(),
            unfinished,
            base: base.as_ref(),
            units: &units,
            groups: &groups,
            pools: &pools,
            busy,
            troubles: &self.troubles,
            free,
            classification: policy.map(|policy| policy.data_classification.as_str()),
        };
        Ok(backup::begin(&view, ask, moment)?)
    }

    /// A taken second takes the next free one.
    async fn free_second(&self, client_name: &str, now: Timestamp) -> Done<Timestamp, C> {
        for seconds in now.seconds..now.seconds.saturating_add(IDENTITY_SECONDS_MAX) {
            let taken = self.catalog.image_labelled(self.own.domain, client_name, seconds);
            if self.ask(taken).await?.is_none() {
                return Ok(Timestamp { seconds, nanos: 0 });
            }
        }
        let sentence =
            format!("client `{client_name}` has an image for every second of the next quarter of an hour");
        Err(Refusal::new("SLP-013", sentence, "back up less often").into())
    }

    /// Expiry, lock and hold to commit an arrival with; refused if it would never be imported, which is remembered.
    ///
    /// Asked before the commit is durable, so that usually nothing has to be amended afterwards.
    pub async fn admit(&mut self, pool: PoolId, arrival: &Arrival, moment: Moment) -> Done<CopyState, C> {
        let around = self.load_arrival(arrival, moment.now).await?;
        let mut earlier = self.ask(self.catalog.imports_of(arrival.record.image)).await?;
        earlier.retain(|it| it.key.pool == pool && it.key.sender == arrival.sender);
        let admitted =
            arrival::admit(&around.view(&self.own, self.settings), pool, (arrival, &earlier), moment);
        let note = match admitted {
            Ok(copy) => return Ok(copy),
            Err(note) => note,
        };
        let refused = arrival::refused(arrival, note.clone(), moment.now);
        self.store(&[Change::ArrivalRefused(refused)]).await?;
        Err(Refusal::new(&note.code, note.sentence, "see `narrowsctl import list` here").into())
    }

    /// A partner asks for an image to be sent back to it (grant `recall`): one that it made or that it sent here.
    pub async fn recalled(
        &mut self,
        image: ImageId,
        (asker, import_slp): (DomainId, Option<String>),
        moment: Moment,
    ) -> Done<(Operation, Vec<Command>), C> {
        let partner = self.ask(self.catalog.partner(asker)).await?;
        let known = self.ask(self.catalog.image(image)).await?;
        let is_theirs = known.is_some_and(|it| it.origin == asker || it.sender == Some(asker));
        if !is_theirs || !partner.is_some_and(|it| it.grants.recall) {
            // Whether it is here is nobody else's business.
            let sentence = format!("domain {asker} may not recall image {image}");
            let help =
                format!("grant it `recall` in `{}`; it may recall what it made or sent", self.own.name);
            return Err(Refusal::new("AUTH-005", sentence, help).into());
        }
        self.send_to(image, (asker, import_slp), Asker::Partner, moment).await
    }

    /// A person asks a partner for an image: it may come home from there, for [`crate::limits::RECALL_OPEN`].
    pub async fn recall(&mut self, image: ImageId, partner: DomainId, moment: Moment) -> Done<(), C> {
        self.store(&[Change::Recall(Recall { image, partner, asked: moment.now })]).await
    }

    /// The partner said no: what it brings all the same was not asked for.
    pub async fn give_up_recall(&mut self, image: ImageId, partner: DomainId) -> Done<(), C> {
        self.store(&[Change::RecallGone(image, partner)]).await
    }

    /// A person asks for an image to be sent to a partner. Returns the operation to watch.
    pub async fn replicate(
        &mut self,
        image: ImageId,
        to: (DomainId, Option<String>),
        moment: Moment,
    ) -> Done<(Operation, Vec<Command>), C> {
        self.send_to(image, to, Asker::Person, moment).await
    }

    async fn send_to(
        &mut self,
        image: ImageId,
        (partner, import_slp): (DomainId, Option<String>),
        asker: Asker,
        moment: Moment,
    ) -> Done<(Operation, Vec<Command>), C> {
        let loaded = self.load_image(image).await?;
        let Some(known) = loaded.image.as_ref().filter(|it| it.state == crate::ImageState::Whole) else {
            let sentence = format!("image {image} does not exist here or is not complete");
            return Err(Refusal::new("SLP-013", sentence, "see `narrowsctl image list`").into());
        };
        crate::air::may_leave(known)
            .map_err(|note| Refusal::new(&note.code, note.sentence, "it stays here"))?;
        match self.ask(self.catalog.partner(partner)).await? {
            Some(known) if asker == Asker::Person => check_stays(&known)?,
            Some(_) => {}
            None => {
                let sentence = format!("domain {partner} is not paired with this one");
                let help = "pair it first: `narrowsctl domain invite`";
                return Err(Refusal::new("TRUST-001", sentence, help).into());
            }
        }
        let readable = loaded.copies.iter().filter(|copy| copy.is_readable());
        let pools = self.ask(self.catalog.pools()).await?;
        if loaded.copies.iter().any(ImageCopy::is_readable)
            && nearest(&loaded.copies, None, |pool| !spans(&pools, pool), |_| false).is_none()
        {
            let note = crate::air::spanning();
            return Err(Refusal::new(&note.code, note.sentence, "it stays here").into());
        }
        let Some(here) = readable.map(|copy| copy.wanted.expires).reduce(crate::retention::later) else {
            let sentence = format!("image {image} has no copy here that could be read");
            return Err(
                Refusal::new("API-006", sentence, "`narrowsctl image undelete` brings one back").into()
            );
        };
        let view = loaded.replication_view();
        // Whoever names one image that the policy would have there no longer wants it there all the same.
        let is_open = |until: &Option<Timestamp>| until.is_none_or(|until| until > moment.now);
        let planned = match asker {
            Asker::Person => {
                Some(replication::life_there(&view, known, (partner, here), moment.now)).filter(is_open)
            }
            Asker::Partner => None,
        };
        let expires = planned.unwrap_or(here);
        let (operation, decision) =
            replication::ask(&view, known, (partner, import_slp), (expires, asker), moment.now);
        let commands = self.settle(decision, moment).await?;
        let operation = self.ask(self.catalog.operation(operation.key)).await?.unwrap_or(operation);
        Ok((operation, commands))
    }
}
