//! Checks both ends of each partnership; every finding names the side to mend.

use axum::extract::State;
use futures_util::future::try_join_all;
use narrows_api::{
    ApiError,
    error::codes,
    partner::{Pong, Reached},
    paths,
    server::{DoctorReport, DoctorRequest, Finding, Level},
    size::shown,
};
use narrows_domain::{
    Catalog as _, Partner,
    limits::IMAGE_FORMAT_MAX,
    partner::Trust,
    retry::NO_VERSION,
    slp::{ANY_CLASSIFICATION, PartnerSlp, SlpVersion},
};

use super::{
    App,
    answer::{Answer, Body, Failure, good, internal},
    caller::Admin,
    clients,
    domains::find,
    ending,
    pools::soon_full,
    problems::{of_pool, of_servers, shared},
    slps::look_up,
};
use crate::{
    hands::{not_spoken, ping, reach},
    limits::{FREE_BYTES_WARNING, SKEW_MS_WARNING},
    pools,
};

/// POST: checks one partner, or all.
pub async fn doctor(
    State(app): State<App>,
    _admin: Admin,
    Body(request): Body<DoctorRequest>,
) -> Answer<DoctorReport> {
    let partners = match &request.domain {
        Some(name) => vec![find(&app, name).await?],
        None => app.catalog.partners().await.map_err(|error| internal(&error))?,
    };
    let slps = app.catalog.slps().await.map_err(|error| internal(&error))?;
    let mut sheet = Sheet { findings: Vec::new() };
    check_own(&app, &mut sheet).await?;
    for partner in partners.iter().filter(|partner| partner.trust != Trust::Unpaired) {
        check_partner(&app, partner, &slps, &mut sheet).await?;
    }
    let mut findings = sheet.findings;
    findings.sort_by_key(|finding| finding.level);
    let healthy = findings.iter().all(|finding| finding.level != Level::Error);
    good(DoctorReport { findings, healthy })
}

/// What is amiss between this domain and these, beyond SLPs.
pub async fn amiss_with(app: &App, partners: &[&Partner]) -> Result<Vec<Finding>, Failure> {
    let checked = partners.iter().map(async |partner| {
        let mut sheet = Sheet { findings: Vec::new() };
        let checked = check_partner(app, partner, &[], &mut sheet).await;
        checked.map(|()| sheet.findings)
    });
    let all = try_join_all(checked).await?.into_iter().flatten();
    Ok(all.filter(|finding| finding.level != Level::Ok).collect())
}

struct Sheet {
    findings: Vec<Finding>,
}

impl Sheet {
    fn note(&mut self, level: Level, check: &str, side: &str, message: impl Into<String>) -> &mut Finding {
        self.findings.push(Finding {
            level,
            code: String::new(),
            check: check.to_owned(),
            side: side.to_owned(),
            message: message.into(),
            help: String::new(),
        });
        let last = self.findings.len() - 1;
        &mut self.findings[last]
    }

    fn error(&mut self, check: &str, side: &str, error: &ApiError) {
        let message = match error.why.as_str() {
            "" => error.message.clone(),
            why => format!("{}: {why}", error.message),
        };
        let finding = self.note(Level::Error, check, side, message);
        finding.code.clone_from(&error.code);
        finding.help.clone_from(&error.help);
    }
}

async fn check_own(app: &App, sheet: &mut Sheet) -> Result<(), Failure> {
    let own = app.who.name.as_str();
    sheet.findings.extend(ending::own(app));
    sheet.findings.extend(clients::ending(app).await?.into_iter().map(|(_, finding)| finding));
    sheet.findings.extend(of_servers(app));
    for pool in app.catalog.pools().await.map_err(|error| internal(&error))? {
        match pools::how(&app.plane, &app.pools, &pool).await {
            (Some(trouble), _) => sheet.findings.push(of_pool(app, &pool, trouble)),
            (None, Some(space)) => {
                check_free(sheet, own, &format!("pool `{}`: ", pool.name), space.disk_available);
                sheet.findings.extend(soon_full(app, &pool, &space).await?);
            }
            (None, None) => {}
        }
    }
    Ok(())
}

fn check_free(sheet: &mut Sheet, side: &str, of: &str, free: u64) {
    let level = if free < FREE_BYTES_WARNING { Level::Warning } else { Level::Ok };
    let finding = sheet.note(level, "free space", side, format!("{of}{} are free", shown(free)));
    if level != Level::Ok {
        "make room on the pool's file system".clone_into(&mut finding.help);
    }
}

async fn check_partner(
    app: &App,
    partner: &Partner,
    slps: &[SlpVersion],
    sheet: &mut Sheet,
) -> Result<(), Failure> {
    let (own, name) = (app.who.name.as_str(), partner.name.as_str());
    sheet.findings.push(ending::of_partner(app, partner));
    sheet.findings.extend(shared(app, std::slice::from_ref(partner)).await?);
    match ping(app, partner).await {
        Ok((pong, skew_ms)) => {
            sheet.note(Level::Ok, "reachable", name, format!("answers at {}", partner.url));
            check_pong(sheet, (own, app.config.test.wire_versions()), partner, &pong, skew_ms);
            sheet.findings.extend(ending::shown_by(app, partner).await);
        }
        Err(error) => {
            // Who does not believe whom is said by the code; what is not reachable is mended over there.
            let check = if error.code == codes::UNREACHABLE { "reachable" } else { "trust" };
            sheet.error(check, name, &error);
            return Ok(());
        }
    }
    check_data_ports(app, partner, sheet).await;
    for version in slps {
        check_slp(app, partner, version, sheet).await?;
    }
    Ok(())
}

fn check_pong(
    sheet: &mut Sheet,
    (own, spoken): (&str, (u16, u16)),
    partner: &Partner,
    pong: &Pong,
    skew_ms: i64,
) {
    let name = partner.name.as_str();
    match (partner.trust, pong.paired) {
        (Trust::Complete, true) => drop(sheet.note(Level::Ok, "trust", name, "both sides trust each other")),
        (Trust::Complete, false) => {
            half(sheet, name, format!("`{name}` has not completed the pairing with `{own}`"));
        }
        _ => half(sheet, own, format!("`{own}` has not completed the pairing with `{name}`")),
    }
    let level = if skew_ms.abs() > SKEW_MS_WARNING { Level::Warning } else { Level::Ok };
    let finding = sheet.note(level, "clock", name, format!("its clock is {skew_ms} ms ahead of `{own}`"));
    if level != Level::Ok {
        "let both run NTP".clone_into(&mut finding.help);
    }
    let (low, high) = pong.wire_versions;
    if let Some(sentence) = not_spoken((own, spoken), pong) {
        let finding = sheet.note(Level::Error, "versions", name, sentence);
        NO_VERSION.clone_into(&mut finding.code);
        "update the older of the two".clone_into(&mut finding.help);
    } else if pong.image_format < IMAGE_FORMAT_MAX {
        let sentence = "stores newer images but can't restore them (AIR-007)";
        "update it".clone_into(&mut sheet.note(Level::Warning, "versions", name, sentence).help);
    } else {
        sheet.note(Level::Ok, "versions", name, format!("narrows {}, wire {low}..={high}", pong.version));
    }
    check_free(sheet, name, "", pong.free_bytes);
}

fn half(sheet: &mut Sheet, side: &str, sentence: String) {
    let finding = sheet.note(Level::Error, "trust", side, sentence);
    "TRUST-001".clone_into(&mut finding.code);
    "it completes by itself once both servers reach each other".clone_into(&mut finding.help);
}

/// Both ways: what we dial is mended there, unless they do not believe us; what they dial is mended here.
async fn check_data_ports(app: &App, partner: &Partner, sheet: &mut Sheet) {
    let (own, name) = (app.who.name.as_str(), partner.name.as_str());
    let address = &partner.data_address;
    match reach(app, partner).await {
        Ok(()) => drop(sheet.note(Level::Ok, "data port", name, format!("answers `{own}` at {address}"))),
        Err(failure) => unreached(sheet, name, &failure.code, format!("{address}: {}", failure.sentence)),
    }
    let asked = app.partners.api(partner.domain, &partner.url, name);
    let answer: Result<Reached, ApiError> = match asked {
        Ok(api) => api.get(paths::PARTNER_REACH).await,
        Err(error) => Err(error),
    };
    match answer {
        Ok(Reached { address, code, why }) if why.is_empty() && code.is_empty() => {
            sheet.note(Level::Ok, "data port", own, format!("answers `{name}` at {address}"));
        }
        Ok(Reached { address, code, why }) => {
            unreached(sheet, own, &code, format!("`{name}` at {address}: {why}"));
        }
        Err(error) => {
            let sentence = format!("`{name}` can't say whether it reaches us: {}", error.message);
            sheet.note(Level::Warning, "data port", own, sentence);
        }
    }
}

fn unreached(sheet: &mut Sheet, side: &str, code: &str, sentence: String) {
    let finding = sheet.note(Level::Error, "data port", side, sentence);
    code.clone_into(&mut finding.code);
    let help = if code.is_empty() { "open the port after the API's there" } else { "pair the two again" };
    help.clone_into(&mut finding.help);
}

/// The import SLPs that one of ours names at this partner.
async fn check_slp(
    app: &App,
    partner: &Partner,
    version: &SlpVersion,
    sheet: &mut Sheet,
) -> Result<(), Failure> {
    let ours = version.slp.data_classification.as_str();
    let ways = app.catalog.replication_targets().await.map_err(|error| internal(&error))?;
    for operation in &version.slp.operations {
        let Some(target) = operation.named_target() else { continue };
        if version.domain_of(&target.domain) != Some(partner.domain) {
            continue;
        }
        let named = target.import_slp.as_deref().unwrap_or(&version.slp.name);
        let check = format!("slp {} -> {named}", version.slp.name);
        let said = look_up(app, partner.domain, named).await?;
        let unit = ways.iter().find(|it| it.partner == partner.domain).map_or("", |way| way.unit.as_str());
        match said.for_unit(unit) {
            PartnerSlp::Unreachable(why) => {
                sheet.note(Level::Error, &check, &partner.name, why);
            }
            PartnerSlp::Absent => {
                let finding = sheet.note(Level::Error, &check, &partner.name, "does not exist there");
                "AIR-002".clone_into(&mut finding.code);
                "apply it there".clone_into(&mut finding.help);
            }
            PartnerSlp::Present { receives: false, .. } => {
                let sentence = "does not begin with an Import into the unit that receives from here";
                "AIR-004".clone_into(&mut sheet.note(Level::Error, &check, &partner.name, sentence).code);
            }
            PartnerSlp::Present { classification, .. }
                if classification != ANY_CLASSIFICATION && classification != ours =>
            {
                let sentence = format!("takes classification `{classification}`, ours is `{ours}`");
                "AIR-003".clone_into(&mut sheet.note(Level::Error, &check, &partner.name, sentence).code);
            }
            PartnerSlp::Present { .. } => {
                sheet.note(Level::Ok, &check, &partner.name, "exists and takes our images");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use narrows_api::partner::ReceivePool;
    use narrows_format::{DomainId, PoolId};

    use super::*;
    use crate::time;

    fn partner() -> Partner {
        let mut partner = Partner::half(DomainId([2; 16]), 1, "west", time::now());
        partner.trust = Trust::Complete;
        partner
    }

    fn pong() -> Pong {
        Pong {
            domain: DomainId([2; 16]),
            incarnation: 1,
            clock: narrows_api::text::time_out(time::now()),
            version: "0".to_owned(),
            wire_versions: (1, 1),
            image_format: IMAGE_FORMAT_MAX,
            receive_pool: ReceivePool { pool: PoolId([3; 16]), incarnation: 1 },
            data_addr: None,
            data_server: None,
            pools: Vec::new(),
            segment_mean: 32_768,
            free_bytes: u64::MAX,
            paired: true,
            refuses: None,
        }
    }

    fn worst(check: impl FnOnce(&mut Sheet)) -> Finding {
        let mut sheet = Sheet { findings: Vec::new() };
        check(&mut sheet);
        sheet.findings.sort_by_key(|finding| finding.level);
        sheet.findings.remove(0)
    }

    /// Goal: clocks that differ by more than a second are a finding, whichever is ahead.
    #[test]
    fn skewed_clocks_are_found() {
        for (skew_ms, level) in
            [(0, Level::Ok), (900, Level::Ok), (1500, Level::Warning), (-1500, Level::Warning)]
        {
            let finding = worst(|sheet| check_pong(sheet, ("east", (1, 1)), &partner(), &pong(), skew_ms));
            assert_eq!(finding.level, level, "{finding:?}");
            assert!(level == Level::Ok || (finding.check == "clock" && !finding.help.is_empty()));
        }
    }

    /// Goal: versions without a common one, half trust and a full disk are each laid at a side's door.
    #[test]
    fn what_the_partner_says_of_itself_is_judged() {
        let no_version = Pong { wire_versions: (900, 901), ..pong() };
        let finding = worst(|sheet| check_pong(sheet, ("east", (1, 1)), &partner(), &no_version, 0));
        assert_eq!((finding.code.as_str(), finding.side.as_str()), ("WIRE-001", "west"));
        let half = Pong { paired: false, ..pong() };
        let finding = worst(|sheet| check_pong(sheet, ("east", (1, 1)), &partner(), &half, 0));
        assert_eq!((finding.code.as_str(), finding.side.as_str()), ("TRUST-001", "west"));
        let full = Pong { free_bytes: 0, ..pong() };
        let finding = worst(|sheet| check_pong(sheet, ("east", (1, 1)), &partner(), &full, 0));
        assert_eq!((finding.check.as_str(), finding.side.as_str()), ("free space", "west"));
    }
}
