//! What the catalog answers: the trait, question by question.

use narrows_domain::Catalog;
use narrows_domain::auto_import::AutoSlp;
use narrows_domain::catalog::{
    BacklogLine, ClientSeen, EventFilter, ImageFilter, JobTotals, NumberedJob, NumberedRun, Reconciling,
    RedeemError, RunsAsked, SlpUse,
};
use narrows_domain::event::Change;
use narrows_domain::image::{Image, ImageCopy};
use narrows_domain::import::{Import, ImportKey, RefusedArrival};
use narrows_domain::job::{JobKey, JobKind};
use narrows_domain::life::LifeSeen;
use narrows_domain::limits::COUNTED_BYTES_MAX;
use narrows_domain::machine::comparing::Held;
use narrows_domain::operation::{Operation, OperationKey};
use narrows_domain::partner::{Partner, ReceivePool};
use narrows_domain::policy::StoredPolicy;
use narrows_domain::recall::Recall;
use narrows_domain::replica::{Base, ReplicaRecord, ReplicaState};
use narrows_domain::scrub::ScrubPass;
use narrows_domain::slp::{SlpHold, SlpVersion};
use narrows_domain::space::{RoomSeen, Waning};
use narrows_domain::storage::{
    Classification, Client, ClientAlias, MediaServer, Pool, ReplicationTarget, StorageUnit, StorageUnitGroup,
};
use narrows_domain::token::{Token, TokenHash, TokenPurpose, TokenRefused};
use narrows_domain::wait::{Silence, Wait};
use narrows_domain::window::Window;
use narrows_format::{ClientId, DomainId, ImageId, PoolId, Sequence, Timestamp};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use crate::columns::{nanos, number, time};
use crate::file::{Asked, SqliteCatalog};
use crate::statements::{
    AUTO_IMPORTED, BACKLOG, BASE, CLIENTS_SEEN, HELD_FOR, IMAGES, IMAGES_LOST, IMAGES_UNDER_WAY,
    IMAGES_UNFINISHED, IMPORTS, IMPORTS_DAMAGED, IMPORTS_FAILED, IMPORTS_FAILED_FROM, IMPORTS_OPEN,
    IMPORTS_STALE, IMPORTS_UNSETTLED, JOB_TOTALS, JOBS_OF, LATEST_WHOLE, MISSING, NEXT_DUE, REPLICAS_AT,
    REPLICAS_CHECKED, SLP_USE,
};
use crate::turns::{CANDIDATES, DUE_PARTNERS, DUPLICATIONS, DUPLICATIONS_IN_PROCESS};
use crate::{
    Error, images, imports, jobs, operations, partners, policies, runs, scrubs, space, storage, waits,
};

impl Catalog for SqliteCatalog {
    type Error = Error;

    async fn apply(&self, changes: &[Change]) -> Asked<()> {
        self.store(changes).await
    }

    async fn redeem(
        &self,
        hash: TokenHash,
        purpose: TokenPurpose,
        now: Timestamp,
        changes: &[Change],
    ) -> Result<Token, RedeemError<Error>> {
        let token = self.try_redeem(hash, purpose, now, changes).await.map_err(RedeemError::Catalog)?;
        token.ok_or(RedeemError::Refused(TokenRefused))
    }

    async fn token(&self, hash: TokenHash) -> Asked<Option<Token>> {
        self.one(sqlx::query("SELECT * FROM tokens WHERE hash = ?").bind(hash.0.to_vec()), storage::token)
            .await
    }

    async fn image(&self, id: ImageId) -> Asked<Option<Image>> {
        self.one(sqlx::query("SELECT * FROM images WHERE id = ?").bind(id.0.to_vec()), images::image).await
    }

    async fn image_labelled(&self, origin: DomainId, client_name: &str, second: i64) -> Asked<Option<Image>> {
        let query = "SELECT * FROM images WHERE origin = ? AND client_name = ? AND started_second = ?";
        self.one(sqlx::query(query).bind(origin.0.to_vec()).bind(client_name).bind(second), images::image)
            .await
    }

    async fn images(&self, filter: &ImageFilter) -> Asked<Vec<Image>> {
        let query = sqlx::query(IMAGES)
            .bind(filter.client_name.as_ref())
            .bind(filter.origin.map(|origin| origin.0.to_vec()))
            .bind(filter.state.map(narrows_domain::ImageState::as_str))
            .bind(filter.slp.as_ref())
            .bind(filter.since.map(nanos))
            .bind(filter.until.map(nanos))
            .bind(filter.limit.map_or(-1, i64::from))
            .bind(filter.or_client.map(|client| client.0.to_vec()));
        self.all(query, images::image).await
    }

    async fn unfinished(&self, lineage: [u8; 32]) -> Asked<Option<Image>> {
        let query = "SELECT * FROM images WHERE lineage = ? AND state = 'writing'
             ORDER BY started DESC, id DESC LIMIT 1";
        self.one(sqlx::query(query).bind(lineage.to_vec()), images::image).await
    }

    async fn latest_whole(&self, lineage: [u8; 32]) -> Asked<Option<Image>> {
        self.one(sqlx::query(LATEST_WHOLE).bind(lineage.to_vec()), images::image).await
    }

    async fn copies(&self, image: ImageId) -> Asked<Vec<ImageCopy>> {
        let query = "SELECT * FROM copies WHERE image = ? ORDER BY number";
        self.all(sqlx::query(query).bind(image.0.to_vec()), images::copy).await
    }

    async fn replicas(&self, image: ImageId) -> Asked<Vec<ReplicaRecord>> {
        let query = "SELECT * FROM replicas WHERE image = ? ORDER BY partner, pool, incarnation";
        self.all(sqlx::query(query).bind(image.0.to_vec()), images::replica).await
    }

    async fn scrub_passes(&self, pool: PoolId) -> Asked<Vec<ScrubPass>> {
        let query = "SELECT * FROM scrub_passes WHERE pool = ? ORDER BY number DESC";
        self.all(sqlx::query(query).bind(pool.0.to_vec()), scrubs::pass).await
    }

    async fn recalls(&self, image: ImageId) -> Asked<Vec<Recall>> {
        let query = "SELECT * FROM recalls WHERE image = ? ORDER BY partner";
        self.all(sqlx::query(query).bind(image.0.to_vec()), images::recall).await
    }

    async fn replicas_at(
        &self,
        partner: DomainId,
        pool: ReceivePool,
        (after, last): (Option<ImageId>, Option<ImageId>),
        limit: u32,
    ) -> Asked<Vec<ReplicaRecord>> {
        let query = sqlx::query(REPLICAS_AT)
            .bind(partner.0.to_vec())
            .bind(pool.pool.0.to_vec())
            .bind(number(pool.incarnation))
            .bind(after.map(|image| image.0.to_vec()))
            .bind(last.map(|image| image.0.to_vec()))
            .bind(limit);
        self.all(query, images::replica).await
    }

    async fn held_for(
        &self,
        (sender, pool): (DomainId, PoolId),
        after: Option<ImageId>,
        limit: u32,
    ) -> Asked<Vec<Held>> {
        let query = sqlx::query(HELD_FOR)
            .bind(sender.0.to_vec())
            .bind(after.map(|image| image.0.to_vec()))
            .bind(limit)
            .bind(pool.0.to_vec());
        self.all(query, imports::held).await
    }

    async fn replicas_checked(
        &self,
        partner: Option<DomainId>,
        state: Option<ReplicaState>,
        limit: u32,
    ) -> Asked<Vec<ReplicaRecord>> {
        let query = sqlx::query(REPLICAS_CHECKED)
            .bind(partner.map(|partner| partner.0.to_vec()))
            .bind(state.map(ReplicaState::as_str))
            .bind(limit);
        self.all(query, images::replica).await
    }

    async fn missing(&self, partner: DomainId, now: Timestamp, limit: u32) -> Asked<Vec<ImageId>> {
        let query = sqlx::query(MISSING).bind(partner.0.to_vec()).bind(limit).bind(nanos(now));
        let id = |row: &SqliteRow| crate::columns::Columns { table: "images", row }.bytes("id").map(ImageId);
        self.all(query, id).await
    }

    async fn operations(&self, image: ImageId) -> Asked<Vec<Operation>> {
        let query = "SELECT * FROM operations WHERE image = ? ORDER BY ordinal";
        self.all(sqlx::query(query).bind(image.0.to_vec()), operations::operation).await
    }

    async fn waits(&self, image: ImageId) -> Asked<Vec<Wait>> {
        let query = "SELECT * FROM waits WHERE image = ? ORDER BY ordinal, number";
        self.all(sqlx::query(query).bind(image.0.to_vec()), waits::wait).await
    }

    async fn silences(&self, partner: DomainId) -> Asked<Vec<Silence>> {
        let query = "SELECT * FROM silences WHERE partner = ? ORDER BY number";
        self.all(sqlx::query(query).bind(partner.0.to_vec()), waits::silence).await
    }

    async fn operation(&self, key: OperationKey) -> Asked<Option<Operation>> {
        let query = "SELECT * FROM operations WHERE image = ? AND ordinal = ?";
        self.one(sqlx::query(query).bind(key.image.0.to_vec()).bind(key.ordinal), operations::operation).await
    }

    async fn unfinished_operations(&self, limit: u32) -> Asked<Vec<Operation>> {
        let query = "SELECT * FROM operations WHERE state NOT IN ('complete', 'failed', 'cancelled')
             ORDER BY age, image, ordinal LIMIT ?";
        self.all(sqlx::query(query).bind(limit), operations::operation).await
    }

    async fn backlog(&self) -> Asked<Vec<BacklogLine>> {
        self.all(sqlx::query(BACKLOG), operations::backlog_line).await
    }

    async fn images_unfinished(&self, slp: &str) -> Asked<u64> {
        let row = sqlx::query(IMAGES_UNFINISHED).bind(slp).fetch_one(&self.readers).await?;
        Ok(u64::try_from(row.try_get::<i64, _>("images")?).unwrap_or(0))
    }

    async fn images_under_way(&self, slp: &str, of: Option<u32>, limit: u32) -> Asked<Vec<Image>> {
        self.all(sqlx::query(IMAGES_UNDER_WAY).bind(slp).bind(of).bind(limit), images::image).await
    }

    async fn slp_use(&self, slp: &str) -> Asked<Vec<SlpUse>> {
        self.all(sqlx::query(SLP_USE).bind(slp), policies::slp_use).await
    }

    async fn slp_version_seen(&self, slp: &str) -> Asked<u32> {
        let query = "SELECT coalesce(max(slp_version), 0) AS version FROM images WHERE slp = ?";
        let row = sqlx::query(query).bind(slp).fetch_one(&self.readers).await?;
        Ok(row.try_get("version")?)
    }

    async fn failed_operations(&self, limit: u32) -> Asked<Vec<Operation>> {
        let query = "SELECT * FROM operations WHERE state = 'failed' AND released IS NULL
             ORDER BY age DESC, image DESC, ordinal DESC LIMIT ?";
        self.all(sqlx::query(query).bind(limit), operations::operation).await
    }

    async fn pending_since(&self, then: Timestamp, limit: u32) -> Asked<Vec<Operation>> {
        let query = "SELECT * FROM operations WHERE pending_since <= ? AND detail <> 'unpaired'
             ORDER BY pending_since, image, ordinal LIMIT ?";
        self.all(sqlx::query(query).bind(nanos(then)).bind(limit), operations::operation).await
    }

    async fn pending_count(&self, then: Timestamp) -> Asked<u64> {
        let query =
            "SELECT count(*) AS operations FROM operations WHERE pending_since <= ? AND detail <> 'unpaired'";
        let row = sqlx::query(query).bind(nanos(then)).fetch_one(&self.readers).await?;
        Ok(u64::try_from(row.try_get::<i64, _>("operations")?).unwrap_or(0))
    }

    async fn clients_seen(&self) -> Asked<Vec<ClientSeen>> {
        self.all(sqlx::query(CLIENTS_SEEN), images::client_seen).await
    }

    async fn candidates(&self, partner: DomainId, now: Timestamp, limit: u32) -> Asked<Vec<Operation>> {
        let query = sqlx::query(CANDIDATES).bind(partner.0.to_vec()).bind(nanos(now)).bind(limit);
        self.all(query, operations::operation).await
    }

    async fn running(&self, partner: DomainId) -> Asked<u32> {
        let query = "SELECT count(*) AS running FROM operations WHERE partner = ? AND state = 'in-process'";
        let row = sqlx::query(query).bind(partner.0.to_vec()).fetch_one(&self.readers).await?;
        Ok(row.try_get("running")?)
    }

    async fn in_process(&self, partner: DomainId) -> Asked<Vec<Operation>> {
        let query = "SELECT * FROM operations WHERE partner = ? AND state = 'in-process'
             ORDER BY image, ordinal";
        self.all(sqlx::query(query).bind(partner.0.to_vec()), operations::operation).await
    }

    async fn duplications(&self, now: Timestamp, limit: u32) -> Asked<Vec<Operation>> {
        self.all(sqlx::query(DUPLICATIONS).bind(nanos(now)).bind(limit), operations::operation).await
    }

    async fn duplications_in_process(&self) -> Asked<Vec<Operation>> {
        self.all(sqlx::query(DUPLICATIONS_IN_PROCESS), operations::operation).await
    }

    async fn unit_jobs(&self) -> Asked<Vec<(String, u32)>> {
        let query = "SELECT unit, count(*) AS jobs FROM operations
             WHERE state = 'in-process' AND unit IS NOT NULL GROUP BY unit ORDER BY unit";
        self.all(sqlx::query(query), operations::unit_jobs).await
    }

    async fn unverified(&self, slp: &str) -> Asked<Vec<Operation>> {
        let query = "SELECT o.* FROM operations o JOIN images i ON i.id = o.image
             WHERE i.slp = ? AND o.state = 'waiting' AND o.detail = 'target-unverified'
             ORDER BY o.image, o.ordinal";
        self.all(sqlx::query(query).bind(slp), operations::operation).await
    }

    async fn base(
        &self,
        lineage: [u8; 32],
        except: ImageId,
        partner: DomainId,
        pool: ReceivePool,
    ) -> Asked<Option<Base>> {
        let query = sqlx::query(BASE)
            .bind(lineage.to_vec())
            .bind(except.0.to_vec())
            .bind(partner.0.to_vec())
            .bind(pool.pool.0.to_vec())
            .bind(number(pool.incarnation));
        let image =
            self.one(query, |row| crate::columns::Columns { table: "images", row }.bytes("id")).await?;
        Ok(image.map(|id| Base { image: ImageId(id), pool: pool.pool, incarnation: pool.incarnation }))
    }

    async fn slp(&self, name: &str, version: Option<u32>) -> Asked<Option<SlpVersion>> {
        let query = "SELECT * FROM slps WHERE name = ?1 AND (?2 IS NULL OR version = ?2)
             ORDER BY version DESC LIMIT 1";
        self.one(sqlx::query(query).bind(name).bind(version), policies::slp).await
    }

    async fn slps(&self) -> Asked<Vec<SlpVersion>> {
        let query = "SELECT * FROM slps s WHERE version = (SELECT max(version) FROM slps WHERE name = s.name)
             ORDER BY name";
        self.all(sqlx::query(query), policies::slp).await
    }

    async fn slp_versions(&self) -> Asked<Vec<SlpVersion>> {
        self.all(sqlx::query("SELECT * FROM slps ORDER BY name, version"), policies::slp).await
    }

    async fn auto_slps(&self) -> Asked<Vec<AutoSlp>> {
        self.all(sqlx::query("SELECT * FROM auto_slps ORDER BY slp"), policies::auto).await
    }

    async fn auto_imported(&self, partner: DomainId) -> Asked<u64> {
        let query = sqlx::query(AUTO_IMPORTED).bind(partner.0.to_vec()).bind(number(COUNTED_BYTES_MAX));
        let row = query.fetch_one(&self.readers).await?;
        Ok(u64::try_from(row.try_get::<i64, _>("bytes")?).unwrap_or(0))
    }

    async fn slp_holds(&self) -> Asked<Vec<SlpHold>> {
        self.all(sqlx::query("SELECT * FROM slp_holds ORDER BY slp"), policies::hold).await
    }

    async fn partners(&self) -> Asked<Vec<Partner>> {
        self.all(sqlx::query("SELECT * FROM partners ORDER BY name"), partners::partner).await
    }

    async fn partner(&self, domain: DomainId) -> Asked<Option<Partner>> {
        let query = sqlx::query("SELECT * FROM partners WHERE domain = ?").bind(domain.0.to_vec());
        self.one(query, partners::partner).await
    }

    async fn pools(&self) -> Asked<Vec<Pool>> {
        self.all(sqlx::query("SELECT * FROM pools ORDER BY name"), storage::pool).await
    }

    async fn media_servers(&self) -> Asked<Vec<MediaServer>> {
        self.all(sqlx::query("SELECT * FROM media_servers ORDER BY name"), storage::server).await
    }

    async fn pool_copies(&self) -> Asked<Vec<(PoolId, u64)>> {
        let query = "SELECT pool, count(*) AS copies FROM copies GROUP BY pool ORDER BY pool";
        self.all(sqlx::query(query), storage::pool_copies).await
    }

    async fn copies_in(&self, pool: PoolId, limit: u32) -> Asked<Vec<ImageCopy>> {
        let query = "SELECT * FROM copies WHERE pool = ? ORDER BY image LIMIT ?";
        self.all(sqlx::query(query).bind(pool.0.to_vec()).bind(limit), images::copy).await
    }

    async fn endless_copies(
        &self,
        pool: PoolId,
        after: Option<(Timestamp, ImageId)>,
        limit: u32,
    ) -> Asked<Vec<ImageCopy>> {
        let (started, image) = after.map_or((i64::MIN, vec![]), |(at, image)| (nanos(at), image.0.to_vec()));
        let query = sqlx::query(space::ENDLESS_COPIES).bind(pool.0.to_vec());
        self.all(query.bind(started).bind(image).bind(limit), images::copy).await
    }

    async fn leaving(&self, until: Timestamp, limit: u32) -> Asked<Vec<Image>> {
        self.all(sqlx::query(space::LEAVING).bind(nanos(until)).bind(limit), images::image).await
    }

    async fn waning(&self, pool: PoolId, now: Timestamp) -> Asked<Waning> {
        let most = number(COUNTED_BYTES_MAX);
        let query = sqlx::query(space::WANING).bind(most).bind(pool.0.to_vec()).bind(nanos(now));
        Ok(self.one(query, space::waning).await?.unwrap_or_default())
    }

    async fn rooms_seen(&self, pool: PoolId) -> Asked<Vec<RoomSeen>> {
        let query = "SELECT * FROM rooms_seen WHERE pool = ? ORDER BY at DESC";
        self.all(sqlx::query(query).bind(pool.0.to_vec()), space::seen).await
    }

    async fn storage_units(&self) -> Asked<Vec<StorageUnit>> {
        self.all(sqlx::query("SELECT * FROM storage_units ORDER BY name"), storage::unit).await
    }

    async fn lives_of(&self, partner: DomainId) -> Asked<Vec<LifeSeen>> {
        let query = sqlx::query("SELECT * FROM partner_lives WHERE partner = ? ORDER BY server");
        self.all(query.bind(partner.0.to_vec()), partners::life).await
    }

    async fn storage_unit_groups(&self) -> Asked<Vec<StorageUnitGroup>> {
        self.all(sqlx::query("SELECT * FROM storage_unit_groups ORDER BY name"), storage::group).await
    }

    async fn replication_targets(&self) -> Asked<Vec<ReplicationTarget>> {
        let query = "SELECT * FROM replication_targets ORDER BY pool, partner";
        self.all(sqlx::query(query), storage::target).await
    }

    async fn classifications(&self) -> Asked<Vec<Classification>> {
        self.all(sqlx::query("SELECT * FROM classifications ORDER BY name"), policies::classification).await
    }

    async fn windows(&self) -> Asked<Vec<Window>> {
        self.all(sqlx::query("SELECT * FROM windows ORDER BY name"), policies::window).await
    }

    async fn clients(&self) -> Asked<Vec<Client>> {
        self.all(sqlx::query("SELECT * FROM clients ORDER BY name"), storage::client).await
    }

    async fn client(&self, id: ClientId) -> Asked<Option<Client>> {
        self.one(sqlx::query("SELECT * FROM clients WHERE id = ?").bind(id.0.to_vec()), storage::client).await
    }

    async fn client_aliases(&self) -> Asked<Vec<ClientAlias>> {
        let query = "SELECT * FROM client_aliases ORDER BY since, client, name";
        self.all(sqlx::query(query), storage::alias).await
    }

    async fn policies(&self) -> Asked<Vec<StoredPolicy>> {
        self.all(sqlx::query("SELECT * FROM policies ORDER BY name"), policies::stored_policy).await
    }

    async fn runs(&self, asked: RunsAsked<'_>) -> Asked<Vec<NumberedRun>> {
        let query = match asked {
            RunsAsked::One(run) => sqlx::query(runs::ONE).bind(number(run)),
            RunsAsked::Live => sqlx::query(runs::LIVE),
            RunsAsked::Due(now) => sqlx::query(runs::DUE).bind(nanos(now)),
            RunsAsked::Making(image) => sqlx::query(runs::MAKING).bind(image.0.to_vec()),
            RunsAsked::Newest(None, limit) => sqlx::query(runs::NEWEST).bind(limit),
            RunsAsked::Newest(Some(policy), limit) => sqlx::query(runs::NEWEST_OF).bind(policy).bind(limit),
        };
        self.all(query, runs::run).await
    }

    async fn last_slots(
        &self,
        policy: &str,
        schedule: &str,
        until: Timestamp,
    ) -> Asked<Vec<(ClientId, Timestamp)>> {
        let query = sqlx::query(runs::LAST_SLOTS).bind(policy).bind(schedule).bind(nanos(until));
        self.all(query, runs::last_slot).await
    }

    async fn latest_cursor(&self, pool: PoolId) -> Asked<Option<(u64, Sequence)>> {
        let query =
            "SELECT incarnation, sequence FROM cursors WHERE pool = ? ORDER BY incarnation DESC LIMIT 1";
        let read = |row: &SqliteRow| {
            let columns = crate::columns::Columns { table: "cursors", row };
            Ok((columns.count("incarnation")?, Sequence(columns.count("sequence")?)))
        };
        self.one(sqlx::query(query).bind(pool.0.to_vec()), read).await
    }

    async fn stale_copies(&self, pool: PoolId, incarnation: u64, limit: u32) -> Asked<Vec<ImageCopy>> {
        let query = "SELECT * FROM copies WHERE pool = ? AND incarnation < ? ORDER BY image, number LIMIT ?";
        let query = sqlx::query(query).bind(pool.0.to_vec()).bind(number(incarnation)).bind(limit);
        self.all(query, images::copy).await
    }

    async fn stale_imports(&self, pool: PoolId, incarnation: u64, limit: u32) -> Asked<Vec<Import>> {
        let query = sqlx::query(IMPORTS_STALE).bind(pool.0.to_vec()).bind(number(incarnation)).bind(limit);
        self.all(query, imports::import).await
    }

    async fn import(&self, key: ImportKey) -> Asked<Option<Import>> {
        let query = sqlx::query("SELECT * FROM imports WHERE pool = ? AND sequence = ? AND sender = ?");
        let query = query.bind(key.pool.0.to_vec()).bind(number(key.sequence.0)).bind(key.sender.0.to_vec());
        self.one(query, imports::import).await
    }

    async fn imports(&self, limit: u32) -> Asked<Vec<Import>> {
        self.all(sqlx::query(IMPORTS).bind(limit), imports::import).await
    }

    async fn events(&self, filter: &EventFilter, limit: u32) -> Asked<Vec<Import>> {
        self.all(imports::events(filter, limit), imports::import).await
    }

    async fn refusals(&self, limit: u32) -> Asked<Vec<RefusedArrival>> {
        let query = "SELECT * FROM refusals ORDER BY last DESC, image DESC, sender DESC LIMIT ?";
        self.all(sqlx::query(query).bind(limit), imports::refused).await
    }

    async fn unsettled_imports(&self, limit: u32) -> Asked<Vec<Import>> {
        self.all(sqlx::query(IMPORTS_UNSETTLED).bind(limit), imports::import).await
    }

    async fn lost_images(&self, limit: u32) -> Asked<Vec<Image>> {
        self.all(sqlx::query(IMAGES_LOST).bind(limit), images::image).await
    }

    async fn damaged_imports(&self, pool: PoolId, limit: u32) -> Asked<Vec<Import>> {
        self.all(sqlx::query(IMPORTS_DAMAGED).bind(pool.0.to_vec()).bind(limit), imports::import).await
    }

    async fn open_imports(&self, then: Timestamp) -> Asked<(u64, u64)> {
        let row = sqlx::query(IMPORTS_OPEN).bind(nanos(then)).fetch_one(&self.readers).await?;
        let count = |column| row.try_get::<i64, _>(column).map(|count| u64::try_from(count).unwrap_or(0));
        Ok((count("imports")?, count("old")?))
    }

    async fn imports_of(&self, image: ImageId) -> Asked<Vec<Import>> {
        let query = "SELECT * FROM imports WHERE image = ? ORDER BY arrived DESC, pool DESC, sequence DESC, sender DESC";
        self.all(sqlx::query(query).bind(image.0.to_vec()), imports::import).await
    }

    async fn failed_imports(&self, slp: &str) -> Asked<Vec<Import>> {
        self.all(sqlx::query(IMPORTS_FAILED).bind(slp), imports::import).await
    }

    async fn failed_imports_from(&self, sender: DomainId) -> Asked<Vec<Import>> {
        self.all(sqlx::query(IMPORTS_FAILED_FROM).bind(sender.0.to_vec()), imports::import).await
    }

    async fn due_imports(&self, now: Timestamp, limit: u32) -> Asked<Vec<Import>> {
        let query =
            "SELECT * FROM imports WHERE next_step <= ? ORDER BY next_step, pool, sequence, sender LIMIT ?";
        self.all(sqlx::query(query).bind(nanos(now)).bind(limit), imports::import).await
    }

    async fn leaving_imports(&self, now: Timestamp, limit: u32) -> Asked<Vec<Import>> {
        let query =
            "SELECT * FROM imports WHERE next_look <= ? ORDER BY next_look, pool, sequence, sender LIMIT ?";
        self.all(sqlx::query(query).bind(nanos(now)).bind(limit), imports::import).await
    }

    async fn due_reports(&self, now: Timestamp, limit: u32) -> Asked<Vec<Import>> {
        let query = "SELECT * FROM imports WHERE next_report <= ? ORDER BY next_report, pool, sequence, sender LIMIT ?";
        self.all(sqlx::query(query).bind(nanos(now)).bind(limit), imports::import).await
    }

    async fn due_amendments(&self, now: Timestamp, limit: u32) -> Asked<Vec<ImageCopy>> {
        let query = "SELECT * FROM copies WHERE next_amend <= ? ORDER BY next_amend, image, number LIMIT ?";
        self.all(sqlx::query(query).bind(nanos(now)).bind(limit), images::copy).await
    }

    async fn due_copies(&self, now: Timestamp, limit: u32) -> Asked<Vec<ImageCopy>> {
        let query = "SELECT * FROM copies WHERE next_look <= ? ORDER BY next_look, image, number LIMIT ?";
        self.all(sqlx::query(query).bind(nanos(now)).bind(limit), images::copy).await
    }

    async fn due_partners(&self, now: Timestamp) -> Asked<Vec<DomainId>> {
        let decode = |row: &SqliteRow| {
            let columns = crate::columns::Columns { table: "operations", row };
            Ok(columns.bytes_or_null("partner")?.map(DomainId))
        };
        let partners = self.all(sqlx::query(DUE_PARTNERS).bind(nanos(now)), decode).await?;
        Ok(partners.into_iter().flatten().collect())
    }

    async fn next_due(&self) -> Asked<Option<Timestamp>> {
        let row = sqlx::query(NEXT_DUE).fetch_one(&self.readers).await?;
        Ok(row.try_get::<Option<i64>, _>("at")?.map(time))
    }

    async fn mark(&self) -> Asked<u64> {
        let mark = self.one(sqlx::query("SELECT mark FROM marks"), storage::mark).await?;
        Ok(mark.unwrap_or(0))
    }

    async fn reconciling(&self) -> Asked<Option<Reconciling>> {
        self.one(sqlx::query("SELECT since, why FROM reconciling"), storage::reconciling).await
    }

    async fn cursor(&self, pool: PoolId, incarnation: u64) -> Asked<Sequence> {
        let query = sqlx::query("SELECT sequence FROM cursors WHERE pool = ? AND incarnation = ?");
        let cursor = query.bind(pool.0.to_vec()).bind(number(incarnation));
        Ok(self.one(cursor, storage::cursor).await?.unwrap_or_default())
    }

    async fn jobs(&self, kind: Option<JobKind>, limit: u32) -> Asked<Vec<NumberedJob>> {
        let query = "SELECT * FROM jobs WHERE (?1 IS NULL OR kind = ?1) ORDER BY number DESC LIMIT ?2";
        self.all(sqlx::query(query).bind(kind.map(JobKind::as_str)).bind(limit), jobs::job).await
    }

    async fn jobs_of(&self, image: ImageId, limit: u32) -> Asked<Vec<NumberedJob>> {
        self.all(sqlx::query(JOBS_OF).bind(image.0.to_vec()).bind(limit), jobs::job).await
    }

    async fn job(&self, job: u64) -> Asked<Option<NumberedJob>> {
        self.one(sqlx::query("SELECT * FROM jobs WHERE number = ?").bind(number(job)), jobs::job).await
    }

    async fn job_keyed(&self, key: &JobKey) -> Asked<Option<NumberedJob>> {
        self.one(sqlx::query("SELECT * FROM jobs WHERE key = ?").bind(&key.0), jobs::job).await
    }

    async fn job_totals(&self, kind: JobKind, key: OperationKey) -> Asked<JobTotals> {
        let first = JobKey::attempts(kind, key);
        let behind = jobs::behind(&first);
        let query = sqlx::query(JOB_TOTALS).bind(first).bind(behind);
        Ok(self.one(query, jobs::totals).await?.unwrap_or_default())
    }
}
