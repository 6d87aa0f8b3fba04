//! Policies that were stored though a partner could not be asked are checked as soon as it can be.

use std::collections::BTreeMap;

use narrows_format::DomainId;

use super::{Applying, Done, Primary};
use crate::catalog::Catalog;
use crate::event::{Change, Command, Event};
use crate::moment::Moment;
use crate::slp::check::{Checked, LocalCopy, PartnerSlp, check};
use crate::slp::version::Unverified;
use crate::slp::{Finding, ResolvedTarget, SlpVersion};

impl<C: Catalog> Primary<C> {
    /// Checks a version that is not verified, as it was when its partners were asked, with what they say now. With nothing
    /// against it, it is verified as it stands, and what waited for that goes on; else what stands against it is told, and what goes to
    /// targets of which nothing was found goes on.
    /// `None` if it is another by now.
    pub async fn verify_slp(
        &mut self,
        then: &SlpVersion,
        partner_slps: BTreeMap<(DomainId, String), PartnerSlp>,
        moment: Moment,
    ) -> Done<(Option<Vec<Finding>>, Vec<Command>), C> {
        let name = &then.slp.name;
        let known = self.ask(self.catalog.slp(name, Some(then.version))).await?;
        if then.verified || known.as_ref() != Some(then) {
            return Ok((None, Vec::new()));
        }
        // Whether a copy may be left only elsewhere was decided when it was stored.
        let (local_copy, unverified) = (LocalCopy::NotNeeded, Unverified::Refuse);
        let how = Applying { partner_slps, theirs: Vec::new(), local_copy, unverified };
        let around = self.surroundings(how).await?;
        let Checked { mut findings, targets, unverified } = check(&then.slp, &around);
        findings.extend(unverified);
        if !ResolvedTarget::are(&targets, &then.targets) {
            let finding = Finding::policy("SLP-008", name, "target")
                .what("names a domain that stands for another one by now")
                .why("an image goes where its SLP was meant to send it")
                .help("apply it anew");
            findings.push(finding);
        }
        // Each by itself: who answers does not wait for those who do not.
        let version = if findings.is_empty() {
            SlpVersion { verified: true, ..then.clone() }
        } else {
            then.having_checked(&targets)
        };
        if version == *then {
            return Ok((Some(findings), Vec::new()));
        }
        let mut changes = self.verified_too(&version).await?;
        changes.push(Change::Slp(version));
        self.store(&changes).await?;
        let commands = self.handle(Event::SlpApplied { name: name.clone() }, moment).await?;
        Ok((Some(findings), commands))
    }
}
