//! What people and partners change or look up: policies, pairing, tokens, and plain rows.

use std::collections::BTreeMap;

use narrows_format::DomainId;

use super::{Done, Error, Primary};
use crate::air;
use crate::catalog::Catalog;
use crate::event::{Change, Command, Decision, Event};
use crate::limits::REFERENCES_NAMED_MAX;
use crate::machine::{Refusal, reach};
use crate::moment::Moment;
use crate::partner::{Dials, Partner, Reach, ReceivePool, Trust};
use crate::policy;
use crate::slp::check::{LocalCopy, PartnerSlp, Surroundings, check};
use crate::slp::version::{Plan, References, Unverified, check_removal, plan, verifies};
use crate::slp::{Slp, SlpOperation, SlpVersion, check::partner_slps_named};
use crate::storage::{ANY_AVAILABLE, StorageUnit};
use crate::token::{Token, TokenHash, TokenPurpose};
use crate::topology::OwnStorage;

/// How a policy is to be applied.
#[derive(Clone, Debug)]
pub struct Applying {
    /// What partners said about the import SLPs that it names; see [`Primary::partner_slps_to_ask`].
    pub partner_slps: BTreeMap<(DomainId, String), PartnerSlp>,
    /// What refers to it and is not known here: SLPs of partners. They count where it is reclassified.
    pub theirs: References,
    /// `--accept-no-local-copy`.
    pub local_copy: LocalCopy,
    /// `--unverified`.
    pub unverified: Unverified,
}

impl<C: Catalog> Primary<C> {
    /// The import SLPs that have to be looked up at partners before `slp` can be checked.
    pub async fn partner_slps_to_ask(&self, slp: &Slp) -> Done<Vec<(DomainId, String)>, C> {
        Ok(partner_slps_named(slp, &self.ask(self.catalog.partners()).await?))
    }

    /// What [`Self::apply_slp`] would do.
    pub async fn plan_slp(&self, slp: &Slp, how: Applying, moment: Moment) -> Done<Plan, C> {
        let (unverified, theirs) = (how.unverified, how.theirs.clone());
        let around = self.surroundings(how).await?;
        let newest = self.ask(self.catalog.slp(&slp.name, None)).await?;
        let references = [self.references(&slp.name).await?, theirs].concat();
        let mut checked = check(slp, &around);
        let policies = self.ask(self.catalog.policies()).await?;
        checked.findings.extend(policy::check::against(slp, policies.iter().map(|it| &it.policy)));
        let planned = plan(slp, checked, newest.as_ref(), &references, unverified, moment.now);
        match planned {
            // An image keeps the version that it was made under, though the policy was deleted since.
            Plan::Store(version) if newest.is_none() => {
                let seen = self.ask(self.catalog.slp_version_seen(&slp.name)).await?;
                Ok(Plan::Store(SlpVersion { version: seen.saturating_add(1), ..version }))
            }
            planned => Ok(planned),
        }
    }

    /// Everything that a policy may name.
    pub(super) async fn surroundings(&self, how: Applying) -> Done<Surroundings, C> {
        let pools = self.ask(self.catalog.pools()).await?;
        let partners = self.ask(self.catalog.partners()).await?;
        let servers = self.ask(self.catalog.media_servers()).await?;
        let own = OwnStorage { data_address: &self.data_address, servers: &servers, pools: &pools };
        let shared = partners.iter().filter_map(|it| Some((it.domain, own.shared_with(it)?))).collect();
        Ok(Surroundings {
            units: self.ask(self.catalog.storage_units()).await?,
            groups: self.ask(self.catalog.storage_unit_groups()).await?,
            targets: self.ask(self.catalog.replication_targets()).await?,
            shared,
            pools,
            partners,
            windows: self.ask(self.catalog.windows()).await?,
            classifications: self.classification_names().await?,
            partner_slps: how.partner_slps,
            local_copy: how.local_copy,
        })
    }

    /// Checks a policy and stores it as a new version, if it says anything new; failed imports that waited
    /// for it are tried again.
    pub async fn apply_slp(
        &mut self,
        slp: &Slp,
        how: Applying,
        moment: Moment,
    ) -> Done<(Plan, Vec<Command>), C> {
        let plan = self.plan_slp(slp, how, moment).await?;
        let Plan::Store(version) = &plan else { return Ok((plan, Vec::new())) };
        let mut changes = vec![Change::Slp(version.clone())];
        changes.extend(self.verified_too(version).await?);
        changes.extend([Change::SlpUnused(slp.name.clone()), Change::AutoSlpGone(slp.name.clone())]);
        self.store(&changes).await?;
        // One that was made by itself is a person's now, and leaves its place to another.
        self.arranged().await?;
        let commands = self.handle(Event::SlpApplied { name: slp.name.clone() }, moment).await?;
        Ok((plan, commands))
    }

    /// Earlier versions that are verified with this one: images keep their version, and do not wait longer than its targets
    /// were unknown.
    pub(super) async fn verified_too(&self, version: &SlpVersion) -> Done<Vec<Change>, C> {
        let all = self.ask(self.catalog.slp_versions()).await?.into_iter();
        let earlier = all.filter(|it| !it.verified && it.version < version.version && verifies(version, it));
        Ok(earlier.map(|it| Change::Slp(SlpVersion { verified: true, ..it })).collect())
    }

    async fn classification_names(&self) -> Done<Vec<String>, C> {
        let known = self.ask(self.catalog.classifications()).await?;
        Ok(known.into_iter().map(|classification| classification.name).collect())
    }

    /// Removes a policy in all its versions, unless something still refers to it (SLP-014).
    /// `theirs` are references that are not known here: SLPs of partners.
    pub async fn delete_slp(&mut self, name: &str, theirs: &References) -> Done<(), C> {
        let references = [self.slp_references(name).await?, theirs.clone()].concat();
        check_removal(name, &references)
            .map_err(|finding| Refusal::new(finding.code, finding.what, finding.help))?;
        self.store(&[Change::SlpGone(name.to_owned())]).await?;
        self.arranged().await
    }

    /// SLPs here whose images a partner imports through its SLP of this name (grant `slp-lookup`).
    pub async fn slps_naming(&self, partner: DomainId, name: &str) -> Done<Vec<String>, C> {
        self.may_look_up(partner).await?;
        let mut found = Vec::new();
        for version in self.ask(self.catalog.slps()).await? {
            let slp = &version.slp;
            let names = |operation: &SlpOperation| match operation.named_target() {
                Some(target) => {
                    version.domain_of(&target.domain) == Some(partner)
                        && target.import_slp.as_deref().unwrap_or(&slp.name) == name
                }
                None => operation.goes_to_all() && slp.name == name,
            };
            if slp.operations.iter().any(names) {
                found.push(slp.name.clone());
            }
        }
        Ok(found)
    }

    /// Backup policies that name an SLP, images that are not complete and are governed by it, and arrivals that wait for it: as long as
    /// there are any it is not deleted.
    pub async fn slp_references(&self, slp: &str) -> Done<References, C> {
        self.known_slp(slp).await?;
        self.references(slp).await
    }

    async fn references(&self, slp: &str) -> Done<References, C> {
        let policies = self.ask(self.catalog.policies()).await?.into_iter().map(|stored| stored.policy);
        let naming = policies.filter(|policy| policy.slp.as_deref() == Some(slp));
        let mut references: References = naming.map(|policy| format!("policy `{}`", policy.name)).collect();
        for import in self.ask(self.catalog.failed_imports(slp)).await? {
            let record = &import.arrival.record;
            references.push(format!("import {}", crate::image::label(&record.client_name, record.started)));
        }
        let images = self.ask(self.catalog.images_under_way(slp, None, REFERENCES_NAMED_MAX)).await?;
        references.extend(images.iter().map(|image| format!("image {}", image.label())));
        if images.len() as u64 >= u64::from(REFERENCES_NAMED_MAX) {
            references.push("perhaps further images".to_owned());
        }
        Ok(references)
    }

    /// AUTH-005: SLPs are looked up with the grant `slp-lookup`.
    async fn may_look_up(&self, asker: DomainId) -> Done<Partner, C> {
        let partner = self.ask(self.catalog.partner(asker)).await?;
        let granted = partner.filter(|it| it.grants.slp_lookup && it.trust != Trust::Unpaired);
        granted.ok_or_else(|| {
            let help = "grant `slp-lookup` to it where it asks";
            Refusal::new("AUTH-005", format!("domain {asker} may not look up SLPs here"), help).into()
        })
    }

    /// The answer to a partner that asks about an SLP of ours (grant `slp-lookup`).
    pub async fn slp_for_partner(&self, asker: DomainId, name: &str) -> Done<PartnerSlp, C> {
        let partner = self.may_look_up(asker).await?;
        let Some(version) = self.ask(self.catalog.slp(name, None)).await? else {
            return Ok(PartnerSlp::Absent);
        };
        let units = self.ask(self.catalog.storage_units()).await?;
        let groups = self.ask(self.catalog.storage_unit_groups()).await?;
        let pool = units.iter().find(|unit| unit.name == partner.receive_unit).map(|unit| unit.pool);
        let receives = version.slp.import().zip(pool).is_some_and(|(import, pool)| {
            air::includes(import.storage.as_deref().unwrap_or(ANY_AVAILABLE), pool, &units, &groups)
        });
        let storage = version.slp.import().map(|import| import.storage.as_deref().unwrap_or(ANY_AVAILABLE));
        let takes = |unit: &&StorageUnit| {
            storage.is_some_and(|storage| air::includes(storage, unit.pool, &units, &groups))
        };
        let named = units.iter().filter(takes).map(|unit| unit.name.clone()).collect();
        Ok(PartnerSlp::Present { classification: version.slp.data_classification, receives, units: named })
    }

    /// Whether a partner may send here: paired, trusted, with the grant `send` (AUTH-005, TRUST-001, TRUST-003).
    pub async fn may_send(&self, sender: DomainId) -> Done<Partner, C> {
        let Some(partner) = self.ask(self.catalog.partner(sender)).await? else {
            let sentence = format!("domain {sender} is not paired with `{}`", self.own.name);
            return Err(Refusal::new("TRUST-001", sentence, "pair the two domains").into());
        };
        partner.may_send()?;
        Ok(partner)
    }

    /// Stores a partner as paired, half or whole; its work is taken up or held back accordingly.
    pub async fn put_partner(&mut self, partner: Partner, moment: Moment) -> Done<Vec<Command>, C> {
        let known = self.ask(self.catalog.partners()).await?;
        crate::partner::check_meeting(&self.own, &known, &partner)?;
        self.check_receiver(&known, &partner).await?;
        self.store(&self.turned_targets(&partner).await?).await?;
        let decision = Self::storing(partner, moment);
        self.settle(decision, moment).await
    }

    /// TOPO-001 for a partner that says anew where and with which pools it receives. One that is known to receive with what is
    /// ours can be paused, limited and unpaired.
    async fn check_receiver(&self, known: &[Partner], partner: &Partner) -> Done<(), C> {
        let is_known = |it: &Partner| {
            it.domain == partner.domain
                && it.trust != Trust::Unpaired
                && (it.dials == Dials::Partner) == (partner.dials == Dials::Partner)
                && (&it.data_address, it.receive_pool, &it.pools)
                    == (&partner.data_address, partner.receive_pool, &partner.pools)
        };
        if partner.trust == Trust::Unpaired || known.iter().any(is_known) {
            return Ok(());
        }
        self.check_apart(partner).await
    }

    /// A partner's row, and what follows from it for its work.
    pub(super) fn storing(partner: Partner, moment: Moment) -> Decision {
        let mut decision = reach::changed(&partner, moment);
        decision.changes.insert(0, Change::Partner(partner));
        decision
    }

    /// Both directions of a pairing were proved, with the partner as it was `then`: it is complete, unless
    /// its row has been changed by somebody else since (TRUST-001).
    pub async fn pairing_proved(
        &mut self,
        then: &Partner,
        receive_pool: ReceivePool,
        skew_ms: i64,
        moment: Moment,
    ) -> Done<(Partner, Vec<Command>), C> {
        let is_the_same = |it: &Partner| {
            it.ca_pem == then.ca_pem
                && it.url == then.url
                && (it.trust == then.trust || it.trust == Trust::Complete)
        };
        let known = self.ask(self.catalog.partner(then.domain)).await?;
        let Some(known) = known.filter(is_the_same) else {
            let sentence = format!("`{}` was changed here while the pairing was completed", then.name);
            return Err(
                Refusal::new("TRUST-001", sentence, "see `narrowsctl domain show`, pair again").into()
            );
        };
        self.store(&self.usual_targets(&known).await?).await?;
        let complete = Partner {
            trust: Trust::Complete,
            heard: Some(moment.now),
            skew_ms: Some(skew_ms),
            receive_pool: Some(receive_pool),
            reach: Reach::Up,
            ..known
        };
        let commands = self.put_partner(complete.clone(), moment).await?;
        Ok((complete, commands))
    }

    /// Stores rows that nothing follows from: pools, units, clients, windows, tokens, jobs.
    pub async fn put(&mut self, changes: &[Change]) -> Done<(), C> {
        self.store(changes).await
    }

    /// Uses a token and stores what it was for, both or neither (AUTH-004). A partner among it is checked as
    /// [`Self::put_partner`] does (TRUST-002, TRUST-003, TOPO-001).
    pub async fn redeem(
        &mut self,
        secret: &[u8],
        purpose: TokenPurpose,
        changes: &[Change],
        moment: Moment,
    ) -> Done<Token, C> {
        for change in changes {
            if let Change::Partner(met) = change {
                let known = self.ask(self.catalog.partners()).await?;
                crate::partner::check_meeting(&self.own, &known, met)?;
                self.check_receiver(&known, met).await?;
            }
        }
        let redeemed = self.catalog.redeem(TokenHash::of(secret), purpose, moment.now, changes).await;
        redeemed.map_err(Error::from)
    }
}
