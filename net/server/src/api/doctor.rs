//! Checks both ends of each partnership; every finding names the side to mend.

use std::cmp::Ordering;

use axum::extract::State;
use futures_util::future::try_join_all;
use narrows_api::{
    ApiError,
    partner::{ApiReached, Pong, Reached},
    paths,
    server::{DoctorReport, DoctorRequest, Finding, Level},
    size::shown,
};
use narrows_domain::{
    Catalog as _, Partner,
    partner::{Dials, Trust},
    retry::NO_VERSION,
    slp::{ANY_CLASSIFICATION, PartnerSlp, SlpOperation, SlpVersion, check::target_of, receiving_unit},
    storage::{ReplicationTarget, StorageUnit},
};
use narrows_format::frame::Codec;
use tokio::{net::lookup_host, time::timeout};

use super::{
    App,
    answer::{Answer, Body, Failure, good, internal},
    caller::{Admin, DECIDE},
    clients,
    domains::find,
    ending,
    pools::soon_full,
    problems::{of_pool, of_servers, shared},
    slps::look_up,
    storage::pool_name,
};
use crate::{
    hands::{not_spoken, ping, reach},
    limits::{FREE_BYTES_WARNING, REACH_TIME_MAX, SKEW_MS_WARNING},
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
    let storage = Storage::load(&app).await?;
    let paired = partners.iter().filter(|partner| partner.trust != Trust::Unpaired);
    // Side by side: of 32 partners that do not answer, each would take its time after the other.
    let checked = try_join_all(paired.map(|partner| checked(&app, partner, (&slps, &storage)))).await?;
    let mut findings: Vec<_> = sheet.findings.into_iter().chain(checked.into_iter().flatten()).collect();
    findings.sort_by_key(|finding| finding.level);
    let healthy = findings.iter().all(|finding| finding.level != Level::Error);
    good(DoctorReport { findings, healthy })
}

/// What is amiss between this domain and these, beyond SLPs.
pub async fn amiss_with(app: &App, partners: &[&Partner]) -> Result<Vec<Finding>, Failure> {
    let storage = Storage::load(app).await?;
    let checked = partners.iter().map(|partner| checked(app, partner, (&[], &storage)));
    let all = try_join_all(checked).await?.into_iter().flatten();
    Ok(all.filter(|finding| finding.level != Level::Ok).collect())
}

async fn checked(
    app: &App,
    partner: &Partner,
    with: (&[SlpVersion], &Storage),
) -> Result<Vec<Finding>, Failure> {
    let mut sheet = Sheet { findings: Vec::new() };
    check_partner(app, partner, with, &mut sheet).await?;
    Ok(sheet.findings)
}

struct Sheet {
    findings: Vec<Finding>,
}

/// By which replication targets what is stored where leaves.
struct Storage {
    units: Vec<StorageUnit>,
    targets: Vec<ReplicationTarget>,
    /// Newest image format that is restored here.
    image_format: u16,
}

impl Storage {
    async fn load(app: &App) -> Result<Self, Failure> {
        Ok(Self {
            units: app.catalog.storage_units().await.map_err(|error| internal(&error))?,
            targets: app.catalog.replication_targets().await.map_err(|error| internal(&error))?,
            image_format: app.config.domain.image_format_max,
        })
    }
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
        let finding = self.note(Level::Error, check, side, error.sentence());
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
    (slps, storage): (&[SlpVersion], &Storage),
    sheet: &mut Sheet,
) -> Result<(), Failure> {
    let (own, name) = (app.who.name.as_str(), partner.name.as_str());
    sheet.findings.push(ending::of_partner(app, partner));
    sheet.findings.extend(shared(app, std::slice::from_ref(partner)).await?);
    check_trust(sheet, own, partner);
    check_unlike(app, partner, storage, sheet).await?;
    // The addresses that it says are dialled by nobody here.
    if partner.dials != Dials::Partner {
        check_names(sheet, own, partner).await;
    }
    let pong = match ping(app, partner).await {
        Ok((pong, skew_ms)) => {
            let answers = format!("answers at {} as domain {}", partner.url, partner.domain);
            sheet.note(Level::Ok, "reachable", name, answers);
            check_pong(sheet, (own, app.config.test.wire_versions()), partner, &pong, skew_ms);
            check_image_formats(sheet, (own, storage.image_format), name, &pong);
            sheet.findings.extend(ending::shown_by(app, partner).await);
            pong
        }
        Err(error) => {
            unanswered(sheet, (own, name), &error);
            return Ok(());
        }
    };
    check_data_ports(app, partner, sheet).await;
    for version in slps {
        check_slp(app, (partner, &pong), (version, storage), sheet).await?;
    }
    Ok(())
}

/// The names by which a partner says that it is reached: they mean something here. Whose server answers there is said by its
/// certificate, which TLS looks at.
async fn check_names(sheet: &mut Sheet, own: &str, partner: &Partner) {
    let api = partner.url.strip_prefix("https://").unwrap_or(&partner.url);
    let mut told: Vec<&str> = Vec::new();
    for authority in [api, &partner.data_address] {
        let Some((host, _)) = authority.rsplit_once(':') else { continue };
        if told.contains(&host) {
            continue;
        }
        told.push(host);
        let found = timeout(REACH_TIME_MAX, lookup_host(authority)).await;
        let why = match found {
            Ok(Ok(addresses)) => {
                let mut all: Vec<_> = addresses.map(|it| it.ip().to_string()).collect();
                all.dedup();
                if !all.is_empty() {
                    sheet.note(Level::Ok, "names", &partner.name, format!("{host} is {}", all.join(", ")));
                    continue;
                }
                "it has no address".to_owned()
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        let sentence = format!("`{own}` does not know the name {host}: {why}");
        let finding = sheet.note(Level::Error, "names", &partner.name, sentence);
        finding.help = format!(
            "let the resolver of `{own}` know it, or start `narrowsd` in `{}` with an `advertise` that it knows",
            partner.name
        );
    }
}

/// What is known here of a partner that is not trusted, whether it answers or not.
fn check_trust(sheet: &mut Sheet, own: &str, partner: &Partner) {
    let name = partner.name.as_str();
    match partner.trust {
        Trust::Complete | Trust::Unpaired => {}
        Trust::Half => half(sheet, own, format!("`{own}` has not completed the pairing with `{name}`")),
        Trust::Expired => {
            let finding = sheet.note(Level::Error, "trust", name, "its certificate has expired");
            "AUTH-002".clone_into(&mut finding.code);
            "renew it there; what waits for it then goes on by itself".clone_into(&mut finding.help);
        }
        Trust::Frozen => {
            let sentence =
                format!("the identity of `{name}` is in doubt in `{own}`: nothing is done with it");
            let finding = sheet.note(Level::Error, "trust", own, sentence);
            "TRUST-003".clone_into(&mut finding.code);
            DECIDE.clone_into(&mut finding.help);
        }
    }
}

/// Who does not believe whom is said by the code; all else is that no answer came, and is mended over there.
fn unanswered(sheet: &mut Sheet, (own, name): (&str, &str), error: &ApiError) {
    let is_trust = ["AUTH-", "TRUST-"].iter().any(|family| error.code.starts_with(family));
    sheet.error(if is_trust { "trust" } else { "reachable" }, name, error);
    let Some(finding) = sheet.findings.last_mut() else { return };
    if error.code == "TRUST-003" {
        // What it answered is said from its side.
        finding.message = format!("the identity of `{own}` is in doubt in `{name}`");
        finding.help = format!(
            "stop the wrong one of `{own}`, then `narrowsctl domain decide` in `{name}` takes the one that answers"
        );
    } else if finding.help.is_empty() && !is_trust {
        finding.help = format!(
            "start `narrowsd` in `{name}`, or open the way to {name}'s API; where it is it tells its partners at each start"
        );
    }
}

/// Targets whose storage over there was found not to be similar: an SLP that replicates by one is refused.
async fn check_unlike(
    app: &App,
    partner: &Partner,
    storage: &Storage,
    sheet: &mut Sheet,
) -> Result<(), Failure> {
    let pools = app.catalog.pools().await.map_err(|error| internal(&error))?;
    for target in storage.targets.iter().filter(|it| it.partner == partner.domain) {
        let Some(why) = &target.unlike else { continue };
        let pool = pool_name(&pools, target.pool);
        let check = format!("target from pool {pool}");
        let finding =
            sheet.note(Level::Error, &check, &partner.name, format!("storage there is not similar: {why}"));
        "SLP-006".clone_into(&mut finding.code);
        finding.help = format!(
            "mend that there, then `narrowsctl target set {} --pool {pool}` looks anew",
            partner.name
        );
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
        // What is lacking here is said already.
        _ => {}
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
    } else {
        sheet.note(Level::Ok, "versions", name, format!("narrows {}, wire {low}..={high}", pong.version));
    }
    check_free(sheet, name, "", pong.free_bytes);
}

/// Whoever knows the older format stores newer images and can't restore them (AIR-007).
fn check_image_formats(sheet: &mut Sheet, (own, ours): (&str, u16), name: &str, pong: &Pong) {
    let (older, newer) = match ours.cmp(&pong.image_format) {
        Ordering::Equal => {
            let sentence = format!("restores image formats up to {ours}, as `{own}` does");
            sheet.note(Level::Ok, "image formats", name, sentence);
            return;
        }
        Ordering::Greater => (name, own),
        Ordering::Less => (own, name),
    };
    let sentence = format!("stores images of the newest format of `{newer}` and can't restore them");
    let finding = sheet.note(Level::Warning, "image formats", older, sentence);
    "AIR-007".clone_into(&mut finding.code);
    finding.help = format!("update `{older}`");
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
        Ok(codecs) => {
            sheet.note(Level::Ok, "data port", name, format!("answers `{own}` at {address}"));
            check_codecs(sheet, name, codecs);
        }
        Err(failure) => unreached(sheet, name, &failure.code, format!("{address}: {}", failure.sentence)),
    }
    let asked = app.partners.api(partner.domain, &partner.url, name);
    let answer: Result<Reached, ApiError> = match asked {
        Ok(api) => api.get(paths::PARTNER_REACH).await,
        Err(error) => Err(error),
    };
    match answer {
        Ok(Reached { address, code, why, api }) => {
            if why.is_empty() && code.is_empty() {
                sheet.note(Level::Ok, "data port", own, format!("answers `{name}` at {address}"));
            } else {
                unreached(sheet, own, &code, format!("`{name}` at {address}: {why}"));
            }
            if let Some(api) = api {
                check_way_back(sheet, (own, name), &api);
            }
        }
        Err(error) => {
            let sentence = format!("`{name}` can't say whether it reaches us: {}", error.message);
            sheet.note(Level::Warning, "data port", own, sentence);
        }
    }
}

/// The partner's way to our API: by it what it took in is confirmed.
fn check_way_back(sheet: &mut Sheet, (own, name): (&str, &str), ApiReached { url, code, why }: &ApiReached) {
    if why.is_empty() && code.is_empty() {
        sheet.note(Level::Ok, "reachable", own, format!("answers `{name}` at {url}"));
        return;
    }
    let sentence = format!("`{name}` does not reach it at {url}, and can confirm nothing: {why}");
    let finding = sheet.note(Level::Error, "reachable", own, sentence);
    code.clone_into(&mut finding.code);
    finding.help = match code.split('-').next() {
        Some("AUTH") => "pair the two again".to_owned(),
        Some("TRUST") => "who is trusted is said under `trust`".to_owned(),
        _ => format!(
            "open the way from `{name}` to `{own}`'s API, or start `narrowsd` in `{own}` with the `advertise` by which it is \
             reached: partners are told at each start"
        ),
    };
}

fn unreached(sheet: &mut Sheet, side: &str, code: &str, sentence: String) {
    let finding = sheet.note(Level::Error, "data port", side, sentence);
    code.clone_into(&mut finding.code);
    let help = match code.split('-').next() {
        Some("AUTH") => "pair the two again",
        Some("TRUST") => "who is trusted is said under `trust`",
        Some("WIRE") => "update the older of the two",
        _ => "open the port after the API's there",
    };
    help.clone_into(&mut finding.help);
}

/// What a side can't read is sent to it in another form: that costs, and is no error.
fn check_codecs(sheet: &mut Sheet, side: &str, read_there: u32) {
    let lacking: Vec<_> =
        Codec::lacking(read_there).map(|codec| format!("{codec:?}").to_lowercase()).collect();
    if lacking.is_empty() {
        sheet.note(Level::Ok, "codecs", side, "reads frames as they are stored");
        return;
    }
    let sentence = format!("does not read {}: what is stored so is sent recoded", lacking.join(", "));
    "update it".clone_into(&mut sheet.note(Level::Warning, "codecs", side, sentence).help);
}

/// The import SLPs at this partner through which one of ours goes: those that it names, and for all partners the one of its own
/// name.
async fn check_slp(
    app: &App,
    (partner, pong): (&Partner, &Pong),
    (version, storage): (&SlpVersion, &Storage),
    sheet: &mut Sheet,
) -> Result<(), Failure> {
    for operation in &version.slp.operations {
        let Some(named) = import_slp_at(version, operation, partner) else { continue };
        let said = look_up(app, partner.domain, named).await?;
        let way = target_of((&version.slp, operation), partner.domain, &storage.units, &storage.targets);
        let unit = way.map_or("", |way| way.unit.as_str());
        let is_made = operation.goes_to_all() && pong.auto_import;
        check_said(sheet, &partner.name, (version, named, unit), (&said.for_unit(unit), is_made));
    }
    Ok(())
}

/// The SLP that is to import there what an operation sends to this partner.
fn import_slp_at<'a>(
    version: &'a SlpVersion,
    operation: &'a SlpOperation,
    partner: &Partner,
) -> Option<&'a str> {
    let own_name = version.slp.name.as_str();
    if operation.goes_to_all() {
        return matches!(partner.trust, Trust::Complete | Trust::Expired).then_some(own_name);
    }
    let target = operation.named_target()?;
    let is_there = version.domain_of(&target.domain) == Some(partner.domain);
    is_there.then(|| target.import_slp.as_deref().unwrap_or(own_name))
}

/// What follows from a partner's word on an import SLP; `is_made`: one is made there by itself.
fn check_said(
    sheet: &mut Sheet,
    side: &str,
    (version, named, unit): (&SlpVersion, &str, &str),
    (said, is_made): (&PartnerSlp, bool),
) {
    let ours = version.slp.data_classification.as_str();
    let check = format!("slp {} -> {named}", version.slp.name);
    match said {
        PartnerSlp::Unreachable(why) => {
            sheet.note(Level::Error, &check, side, why);
        }
        PartnerSlp::Absent if is_made => {
            let sentence = "is made there with the first image, within the bounds of its grant `auto-import`";
            sheet.note(Level::Ok, &check, side, sentence);
        }
        PartnerSlp::Absent => {
            let finding = sheet.note(Level::Error, &check, side, "does not exist there");
            "AIR-002".clone_into(&mut finding.code);
            "apply it there".clone_into(&mut finding.help);
        }
        PartnerSlp::Present { receives: false, .. } => {
            let sentence = format!("does not begin with an Import into {}", receiving_unit(unit));
            "AIR-004".clone_into(&mut sheet.note(Level::Error, &check, side, sentence).code);
        }
        PartnerSlp::Present { classification, .. }
            if classification != ANY_CLASSIFICATION && classification != ours =>
        {
            let sentence = format!("takes classification `{classification}`, ours is `{ours}`");
            "AIR-003".clone_into(&mut sheet.note(Level::Error, &check, side, sentence).code);
        }
        PartnerSlp::Present { .. } => {
            sheet.note(Level::Ok, &check, side, "exists and takes our images");
        }
    }
}

#[cfg(test)]
mod tests {
    use narrows_api::{error::codes, partner::ReceivePool};
    use narrows_domain::limits::IMAGE_FORMAT_MAX;
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
            auto_import: false,
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

    /// Goal: a partner whose identity is in doubt is not one that is about to be paired, on whichever side it is in doubt.
    #[test]
    fn doubt_is_no_half_pairing_and_says_who_decides() {
        let known = |trust| Partner { trust, ..partner() };
        for (trust, code, side, help) in [
            (Trust::Frozen, "TRUST-003", "east", "`narrowsctl domain decide`"),
            (Trust::Half, "TRUST-001", "east", "completes by itself"),
            (Trust::Expired, "AUTH-002", "west", "renew it there"),
        ] {
            let finding = worst(|sheet| {
                check_trust(sheet, "east", &known(trust));
                check_pong(sheet, ("east", (1, 1)), &known(trust), &pong(), 0);
            });
            assert_eq!((finding.level, finding.check.as_str()), (Level::Error, "trust"), "{finding:?}");
            assert_eq!((finding.code.as_str(), finding.side.as_str()), (code, side), "{finding:?}");
            assert!(finding.help.contains(help), "{finding:?}");
        }
        let theirs = ApiError::new("TRUST-003", "the identity of `east` is in doubt here").help(DECIDE);
        let finding = worst(|sheet| unanswered(sheet, ("east", "west"), &theirs));
        assert_eq!((finding.check.as_str(), finding.side.as_str()), ("trust", "west"), "{finding:?}");
        assert!(finding.help.contains("in `west`") && !finding.help.contains("here"), "{finding:?}");
    }

    /// Goal: only who does not believe whom is a matter of trust.
    #[test]
    fn what_does_not_answer_in_time_is_not_mistrusted() {
        for (code, check) in [
            (codes::UNREACHABLE, "reachable"),
            (codes::TIMED_OUT, "reachable"),
            (codes::NOT_READY, "reachable"),
            (codes::BUSY, "reachable"),
            (codes::INTERNAL, "reachable"),
            ("AUTH-001", "trust"),
            ("TRUST-001", "trust"),
        ] {
            let error = ApiError::new(code, "it says no");
            let finding = worst(|sheet| unanswered(sheet, ("east", "west"), &error));
            assert_eq!((finding.code.as_str(), finding.check.as_str()), (code, check), "{finding:?}");
            assert_eq!(finding.help.is_empty(), check == "trust", "{finding:?}");
        }
    }

    /// Goal: whichever side can't restore what the other makes is named, and what it can't read is said.
    #[test]
    fn the_side_of_the_older_format_and_of_the_fewer_codecs_is_named() {
        for (theirs, level, side) in [
            (IMAGE_FORMAT_MAX, Level::Ok, "west"),
            (IMAGE_FORMAT_MAX - 1, Level::Warning, "west"),
            (IMAGE_FORMAT_MAX + 1, Level::Warning, "east"),
        ] {
            let pong = Pong { image_format: theirs, ..pong() };
            let finding =
                worst(|sheet| check_image_formats(sheet, ("east", IMAGE_FORMAT_MAX), "west", &pong));
            assert_eq!((finding.level, finding.side.as_str()), (level, side), "{finding:?}");
            assert_eq!(finding.code == "AIR-007", level == Level::Warning, "{finding:?}");
        }
        let all = worst(|sheet| check_codecs(sheet, "west", Codec::ALL | 1 << 9));
        assert_eq!(all.level, Level::Ok, "{all:?}");
        let no_zstd = worst(|sheet| check_codecs(sheet, "west", 0b011));
        assert_eq!(no_zstd.level, Level::Warning, "{no_zstd:?}");
        assert!(no_zstd.message.contains("does not read zstd:"), "{no_zstd:?}");
    }
}
