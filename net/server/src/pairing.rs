//! Making two domains trust each other, by one line and in both directions.
//!
//! The inviting side ("inviter") makes a line with its address, its CA's fingerprint and a one-time token.
//! The other side ("joiner") takes it:
//!
//! 1. joiner -> inviter, first contact: the inviter's CA must have the fingerprint (AUTH-006). The joiner
//!    introduces itself with the token (AUTH-004); the inviter spends the token and stores the joiner as
//!    half-paired in one transaction, and introduces itself in turn. The joiner stores that likewise.
//! 2. joiner -> inviter, with certificates both ways: "confirm". Before it answers, the inviter calls the
//!    joiner back, with certificates both ways. Only then is each side complete.
//!
//! A joiner that nobody can dial says so with its introduction: it parks connections at the inviter as soon as that knows it
//! ([`crate::parking`]), and is called back by one of them.
//!
//! Guarantee: nobody is complete unless both have proved themselves in both directions. A crash or a broken
//! line leaves a half-made pairing that is listed as such and completed by itself ([`complete`] is tried
//! again) or by pairing anew.

use narrows_api::{
    ApiError, Hex,
    domains::{InviteReply, InviteRequest, PairRequest},
    error::codes,
    invitation::{Invitation, Purpose, is_plain_name},
    partner::{ConfirmRequest, Introduction, Pong, ReceivePool, Refused},
    paths,
    text::time_out,
};
use narrows_domain::{
    Catalog as _, Change, Event,
    life::Life,
    limits::POOLS_MAX,
    machine::placing::BUSY,
    partner::{self, Dials, Partner, Reach, Trust},
    primary::{self, Whereabouts},
    token::{Token, TokenHash, TokenPurpose, TokenRefused},
};
use narrows_format::{DomainId, Timestamp};
use tokio::time::timeout;

use crate::{
    apart,
    api::{
        App,
        answer::{Failure, internal},
    },
    limits::{INVITATION_LIFE, REACH_TIME_MAX},
    pki::authority::{certificate_of_pem, certificates_of_pem, fingerprint},
    pools, random, time,
};

/// The storage unit that receives from a partner that was just met.
const RECEIVE_UNIT: &str = "default";

/// Makes an invitation.
pub async fn invite(app: &App, request: InviteRequest) -> Result<InviteReply, Failure> {
    if let Some(alias) = &request.alias {
        check_name(alias)?;
        check_name_is_free(app, alias, None).await?;
    }
    let seconds = request.expires_in_seconds.map_or(INVITATION_LIFE.as_secs(), u64::from);
    let subject = request.alias.unwrap_or_default();
    let (line, expires) = make_line(app, Purpose::Pair, subject, seconds).await?;
    Ok(InviteReply { line, expires: time_out(expires) })
}

/// Stores a fresh token and writes the line that carries it.
pub async fn make_line(
    app: &App,
    purpose: Purpose,
    subject: String,
    life_seconds: u64,
) -> Result<(String, Timestamp), Failure> {
    let token = match purpose {
        Purpose::Pair => TokenPurpose::Pair,
        Purpose::Enroll => TokenPurpose::Enroll,
        Purpose::Join => TokenPurpose::Join,
    };
    make_token_line(app, token, subject, life_seconds).await
}

/// The same for a token of any purpose; who enrolls need not know whether it is for the first time.
pub async fn make_token_line(
    app: &App,
    purpose: TokenPurpose,
    subject: String,
    life_seconds: u64,
) -> Result<(String, Timestamp), Failure> {
    let secret = random::bytes::<32>();
    let made = app.clock.now();
    let expires = time::in_seconds(made, life_seconds);
    let token = Token { hash: TokenHash::of(&secret), purpose, subject, made, expires, used: None };
    app.control.put(vec![Change::Token(token)]).await?;
    let line = Invitation {
        purpose: match purpose {
            TokenPurpose::Pair => Purpose::Pair,
            TokenPurpose::Join | TokenPurpose::Rejoin => Purpose::Join,
            TokenPurpose::Enroll | TokenPurpose::Replace => Purpose::Enroll,
        },
        address: app.config.api_addr(),
        domain: app.who.domain,
        name: app.who.name.clone(),
        ca_fingerprint: app.authority().fingerprint(),
        token: Hex(secret),
        expires: expires.seconds,
    };
    Ok((line.to_string(), expires))
}

/// The joiner's part: both steps.
pub async fn pair(app: &App, request: PairRequest) -> Result<Partner, Failure> {
    let line = request.line.parse::<Invitation>();
    let line = line.map_err(|bad| ApiError::new(codes::MALFORMED, bad.to_string()).at("line"))?;
    if line.purpose != Purpose::Pair {
        let error = ApiError::new(codes::MALFORMED, "this line pairs no domain")
            .help("`narrowsctl domain invite` on the other side makes the right one");
        return Err(error.into());
    }
    if line.domain == app.who.domain {
        return Err(ApiError::new(codes::CONFLICT, "a domain can't be paired with itself").into());
    }
    let name = request.alias.unwrap_or_else(|| line.name.clone());
    check_name(&name)?;
    check_name_is_free(app, &name, Some(line.domain)).await?;
    check_window(app, request.window.as_deref()).await?;

    let api = app.partners.first_contact(line.ca_fingerprint, &line.url(), &name)?;
    let dials_out = request.dial_out;
    let ours = Introduction { token: Some(line.token), dials_out, ..introduce(app).await? };
    let theirs: Introduction = api.post(paths::PARTNER_PAIR, &ours).await?;
    let is_the_one = theirs.domain == line.domain
        && certificate_of_pem(&theirs.ca_pem).is_some_and(|der| fingerprint(&der) == line.ca_fingerprint);
    if !is_the_one {
        let error = ApiError::new("AUTH-006", format!("{name} is not the domain that the line names"));
        return Err(error.into());
    }
    let known = app.catalog.partner(line.domain).await.map_err(|error| internal(&error))?;
    let is_other = |known: &Partner| {
        let cas = certificates_of_pem(&known.ca_pem);
        known.trust != Trust::Unpaired && cas.iter().all(|ca| fingerprint(ca) != line.ca_fingerprint)
    };
    if known.as_ref().is_some_and(is_other) {
        let sentence = format!("domain {} is known here with another CA than the line's", line.domain);
        let error = ApiError::new("TRUST-003", sentence)
            .because("one of the two is a copy of the other, or claims to be it")
            .help("unpair the one that is gone, then pair again");
        return Err(error.into());
    }
    // Reached at the line's address, where it has shown its CA: what it says of itself may not resolve here.
    let partner = stranger(app, &theirs, &name).await?;
    let partner = Partner { url: line.url(), data_address: theirs.data_addr.clone(), ..partner };
    let (dials, dial_window) = if dials_out { (Dials::Own, request.window) } else { (Dials::Both, None) };
    let partner = Partner { dials, dial_window, ..partner };
    // It is ordered now, whatever window may be shut.
    let _held = app.parking.hold_open(partner.domain);
    app.control.put_partner(partner.clone()).await?;
    believe(app, &partner)?;
    complete(app, partner.domain).await
}

/// The inviter's part of the first step. The token is the caller's authority.
pub async fn accept(app: &App, theirs: Introduction) -> Result<Introduction, Failure> {
    let refused = || ApiError::new("AUTH-004", TokenRefused.to_string()).help("make a new invitation");
    let hash = TokenHash::of(&theirs.token.ok_or_else(refused)?.0);
    let now = app.clock.now();
    let token = app.catalog.token(hash).await.map_err(|error| internal(&error))?.ok_or_else(refused)?;
    token.check(TokenPurpose::Pair, now).map_err(|_| refused())?;
    if theirs.domain == app.who.domain {
        return Err(ApiError::new(codes::CONFLICT, "a domain can't be paired with itself").into());
    }
    let name = if token.subject.is_empty() { theirs.name.clone() } else { token.subject };
    check_name(&name)?;
    check_name_is_free(app, &name, Some(theirs.domain)).await?;
    let partner = stranger(app, &theirs, &name).await?;
    let secret = theirs.token.ok_or_else(refused)?.0;
    app.control.redeem(secret, TokenPurpose::Pair, vec![Change::Partner(partner.clone())]).await?;
    believe(app, &partner)?;
    tracing::info!(partner = %name, "half paired: it knows us, we wait for its confirmation");
    introduce(app).await
}

/// The inviter's part of the second step; `partner` is the caller by its certificate. So it may say where it is now.
pub async fn confirm(app: &App, partner: Partner, request: ConfirmRequest) -> Result<Pong, Failure> {
    check_addresses(&request.url, &request.data_addr)?;
    if !request.dials_out {
        apart::check_partner(app, &partner.name, &request.data_addr).await?;
    }
    let dials = match (request.dials_out, partner.dials) {
        (true, Dials::Own) => {
            let sentence = format!("`{}` dials `{}` by itself, and only then", app.who.name, partner.name);
            let help = format!(
                "one of the two has to be dialled: `narrowsctl domain dial --both` in `{}` first",
                app.who.name
            );
            return Err(ApiError::new(codes::CONFLICT, sentence).help(help).into());
        }
        (true, Dials::Both | Dials::Partner) => Dials::Partner,
        (false, Dials::Partner) => Dials::Both,
        (false, dials) => dials,
    };
    let to = Whereabouts { url: request.url, data_address: request.data_addr, dials };
    let told = hear_where(app, &partner, to).await;
    if told.is_err() {
        know_as_stored(app, partner.domain).await;
    }
    let (now, pong) = told?;
    if request.is_paired && partner.trust == Trust::Complete && dials == partner.dials {
        return pong_for(app, &now).await;
    }
    let complete = finish(app, now, &pong).await?;
    pong_for(app, &complete).await
}

/// It is called in the way that it says now, and only if that works it is so from now on.
async fn hear_where(app: &App, before: &Partner, to: Whereabouts) -> Result<(Partner, Pong), Failure> {
    let Whereabouts { url, data_address, dials } = to.clone();
    let partner = Partner { url, data_address, dials, ..before.clone() };
    app.parking.know(&partner);
    let pong = call_where_it_is(app, before, &partner).await?;
    Ok((moved(app, before, to, &pong).await?, pong))
}

/// What was tried is not so; what was stored meanwhile is.
async fn know_as_stored(app: &App, domain: DomainId) {
    let knows = app.clone();
    let settled = app.control.act(move |primary, _| {
        Box::pin(async move {
            match primary.catalog().partner(domain).await.map_err(primary::Error::Catalog)? {
                Some(partner) => knows.parking.know(&partner),
                None => knows.parking.forget(domain),
            }
            Ok(((), Vec::new()))
        })
    });
    if let Err(Failure(error)) = settled.await {
        tracing::warn!(%domain, %error, "which of the two dials can't be read");
    }
}

/// Calls a partner as it says that it is called from now on.
async fn call_where_it_is(app: &App, before: &Partner, partner: &Partner) -> Result<Pong, Failure> {
    let api = app.partners.api(partner.domain, &partner.url, &partner.name)?;
    let called = api.get_of_life(paths::PARTNER_PING).await;
    let (pong, life): (Pong, _) = called.map_err(|error: ApiError| {
        let sentence = format!("{} can't be called back: {}", app.who.name, error.message);
        let help = match partner.dials {
            Dials::Partner => format!("it dials in by itself; let it reach {}", app.config.url()),
            _ => format!("make {} reachable from {}", partner.url, app.who.name),
        };
        ApiError::new("TRUST-001", sentence)
            .at(error.place)
            .because(error.why)
            .help(format!("{help}; the pairing then completes by itself"))
    })?;
    // Where it was dialled until now.
    let is_elsewhere = before.url != partner.url || partner.dials == Dials::Partner;
    if before.trust == Trust::Complete && before.dials != Dials::Partner && is_elsewhere {
        check_left(app, before, life).await?;
    }
    Ok(pong)
}

/// TRUST-003: a domain that has moved is not found any more where it was known to be, unless that leads to the same server. So a
/// copy of its data folder that is started elsewhere does not take its place while it runs.
async fn check_left(app: &App, known: &Partner, life: Option<Life>) -> Result<(), Failure> {
    let api = app.partners.dialled(known.domain, &known.url, &known.name)?;
    // The caller waits for this no longer than for any other answer.
    match timeout(REACH_TIME_MAX, api.get_of_life::<Pong>(paths::PARTNER_PING)).await {
        Ok(Ok((_, still))) if still != life => {
            let sentence = format!("another server of `{}` answers at {} still", known.name, known.url);
            let help = "stop the wrong one: a domain is in one place at a time";
            Err(ApiError::new("TRUST-003", sentence).help(help).into())
        }
        _ => Ok(()),
    }
}

/// A partner has said where it is, and answers there. Gives its row as it is now.
async fn moved(app: &App, before: &Partner, to: Whereabouts, pong: &Pong) -> Result<Partner, Failure> {
    if pong.domain != before.domain {
        return Err(ApiError::new("AUTH-006", format!("{} answers as another domain", before.name)).into());
    }
    let (domain, then, dials) = (before.domain, before.trust, to.dials);
    let ordered = app.control.act(move |primary, moment| {
        Box::pin(async move { primary.partner_moved((domain, then), to, moment).await })
    });
    let (partner, has_moved) = ordered.await?;
    if has_moved {
        // The connection by which it was called is the one of its new way.
        if dials == before.dials {
            app.partners.forget(domain);
        }
        app.partners.forget_data_address(domain);
        tracing::info!(partner = %partner.name, url = partner.url, data = partner.data_address, %dials, "it has moved");
        if partner.trust == Trust::Complete {
            let skew_ms = time::millis_between(app.clock.now(), narrows_api::text::time_in(pong.clock));
            app.control.tell(up(domain, pong, skew_ms)).await;
        }
    }
    Ok(partner)
}

/// Tells a partner where we are.
pub async fn tell_where(app: &App, partner: &Partner) -> Result<(), ApiError> {
    let api = app.partners.api(partner.domain, &partner.url, &partner.name)?;
    let word = ConfirmRequest { is_paired: true, ..here(app, partner) };
    api.post::<_, Pong>(paths::PARTNER_CONFIRM, &word).await.map(drop)
}

/// The joiner's part of the second step; also tried again for half-made pairings.
pub async fn complete(app: &App, domain: DomainId) -> Result<Partner, Failure> {
    let stored = app.catalog.partner(domain).await.map_err(|error| internal(&error))?;
    let partner = stored.ok_or_else(|| ApiError::new(codes::NOT_FOUND, "no such partner"))?;
    let api = app.partners.api(domain, &partner.url, &partner.name)?;
    let pong: Result<Pong, ApiError> = api.post(paths::PARTNER_CONFIRM, &here(app, &partner)).await;
    let pong = pong.map_err(|error| {
        if error.code.starts_with("TRUST-") {
            return error;
        }
        let sentence = format!("the pairing with {} is half-made: {}", partner.name, error.message);
        ApiError::new("TRUST-001", sentence)
            .at(error.place)
            .because(error.why)
            .help("it completes by itself once both servers reach each other; `narrowsctl doctor` says more")
    })?;
    finish(app, partner, &pong).await
}

/// Nobody of an unpaired domain is believed any more, and its connections end.
///
/// It is looked at in the control task's own time: a pairing that begins anew stores its partner there before it
/// believes it ([`believe`]), so what is stored as unpaired at that moment is not about to be believed.
pub async fn forget_parted(app: &App) -> Result<(), Failure> {
    let believed = app.clone();
    let parted = app.control.act(move |primary, _| {
        Box::pin(async move {
            let partners = primary.catalog().partners().await.map_err(primary::Error::Catalog)?;
            for partner in partners.iter().filter(|it| it.trust == Trust::Unpaired) {
                if believed.trust.believes(partner.domain) {
                    forget(&believed, partner);
                }
            }
            Ok(((), Vec::new()))
        })
    });
    parted.await
}

fn forget(app: &App, partner: &Partner) {
    app.trust.remove_domain(partner.domain);
    app.partners.forget(partner.domain);
    app.parking.forget(partner.domain);
    app.parted.send_modify(|count| *count += 1);
    tracing::info!(partner = %partner.name, "unpaired: its certificates are not believed any more");
}

/// Where we are, and whether we can be dialled there.
fn here(app: &App, partner: &Partner) -> ConfirmRequest {
    let dials_out = partner.dials == Dials::Own;
    ConfirmRequest { url: app.config.url(), data_addr: app.config.data_addr(), is_paired: false, dials_out }
}

fn check_addresses(url: &str, data_addr: &str) -> Result<(), Failure> {
    if url.strip_prefix("https://").is_some_and(is_authority) && is_authority(data_addr) {
        return Ok(());
    }
    Err(ApiError::new(codes::MALFORMED, "the address is malformed").at("url").into())
}

/// What we say of ourselves.
async fn introduce(app: &App) -> Result<Introduction, Failure> {
    let receive_pool = app.receive_pool(RECEIVE_UNIT).await?;
    Ok(Introduction {
        token: None,
        domain: app.who.domain,
        name: app.who.name.clone(),
        incarnation: app.who.incarnation,
        url: app.config.url(),
        data_addr: app.config.data_addr(),
        ca_pem: app.authority().believed_pem(app.clock.now().seconds),
        signing_key: Hex(app.signing.public()),
        receive_pool,
        dials_out: false,
    })
}

/// What a partner is told when it asks, of the pool behind the unit that receives from it and of all others.
pub async fn pong_for(app: &App, caller: &Partner) -> Result<Pong, Failure> {
    let receive_pool = app.receive_pool(&caller.receive_unit).await?;
    let open = app.pools.get(receive_pool.pool).ok();
    let free_bytes = match &open {
        // How full a pool of a media server is can't be told while that is silent; that it takes nothing is told otherwise.
        Some(open) if open.is_away => {
            app.plane.pool(open.pool).space().await.map_or(0, |space| space.disk_available)
        }
        Some(open) => app.plane.pool(open.pool).space().await?.disk_available,
        None => 0,
    };
    let away = app.data_away(receive_pool.pool);
    let (data_addr, data_server) = away.map(|at| (Some(at.address), at.server)).unwrap_or_default();
    Ok(Pong {
        domain: app.who.domain,
        incarnation: app.who.incarnation,
        clock: time_out(app.clock.now()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        wire_versions: app.config.test.wire_versions(),
        image_format: app.config.domain.image_format_max,
        receive_pool,
        data_addr,
        data_server,
        pools: app.pools_told().await?,
        segment_mean: open.map_or(0, |open| open.segment_mean),
        free_bytes,
        paired: caller.trust == Trust::Complete,
        auto_import: caller.grants.auto_import.is_some(),
        refuses: None,
    })
}

/// Why nothing that a partner brings would be taken just now, to this storage unit if it names one, which is the one that
/// receives from it if the name is empty. That a unit has no place, or is not there, is said of each image.
pub async fn refuses(app: &App, partner: &Partner, unit: Option<&str>) -> Result<Option<Refused>, Failure> {
    if let Err(refusal) = partner.may_send() {
        return Ok(Some(Refused { code: refusal.code, why: refusal.sentence }));
    }
    let Some(unit) = unit else { return Ok(None) };
    let named = if unit.is_empty() { &partner.receive_unit } else { unit };
    let units = app.catalog.storage_units().await.map_err(|error| internal(&error))?;
    let pool = units.iter().find(|it| it.name == named).map(|it| it.pool);
    let rows = app.catalog.pools().await.map_err(|error| internal(&error))?;
    let Some(row) = rows.iter().find(|row| Some(row.id) == pool) else { return Ok(None) };
    let trouble = pools::trouble(&app.plane, &app.pools, row).await.filter(|it| it.code != BUSY);
    Ok(trouble.map(|it| Refused { code: it.code, why: it.sentence }))
}

/// A partner as it introduced itself, half-paired. What an earlier pairing had granted stays.
async fn stranger(app: &App, theirs: &Introduction, name: &str) -> Result<Partner, Failure> {
    let malformed = |field: &str, why: &str| ApiError::new(codes::MALFORMED, why).at(field.to_owned());
    certificate_of_pem(&theirs.ca_pem).ok_or_else(|| malformed("ca_pem", "no certificate"))?;
    check_addresses(&theirs.url, &theirs.data_addr)?;
    // What nobody dials is no place.
    if !theirs.dials_out {
        apart::check_partner(app, name, &theirs.data_addr).await?;
    }
    if i64::try_from(theirs.incarnation).is_err() {
        return Err(malformed("incarnation", "no domain was recovered so often").into());
    }
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    let named = certificates_of_pem(&theirs.ca_pem);
    app.trust.check(named.clone()).map_err(|error| malformed("ca_pem", &error.to_string()))?;
    let known = partners.iter().find(|partner| partner.domain == theirs.domain);
    let is_same = |known: &&Partner| {
        let cas = certificates_of_pem(&known.ca_pem);
        known.signing_key == theirs.signing_key.0 && named.iter().any(|named| cas.contains(named))
    };
    if let Some(known) = known.filter(|known| known.trust != Trust::Unpaired && !is_same(known)) {
        let sentence = format!("domain {} is known here as `{}` with other keys", theirs.domain, known.name);
        let error = ApiError::new("TRUST-003", sentence)
            .because("one of the two is a copy of the other, or claims to be it")
            .help("unpair the one that is gone, then pair again");
        return Err(error.into());
    }
    if let Some(known) = known.filter(|known| !matches!(known.trust, Trust::Unpaired | Trust::Half)) {
        partner::check_meeting(
            &app.own(),
            &partners,
            &Partner { incarnation: theirs.incarnation, ..known.clone() },
        )
        .map_err(|refusal| ApiError::new(refusal.code, refusal.sentence).help(refusal.help))?;
        // Nobody has shown a key yet: it goes on as it is. Where it is now it says with its certificate.
        // Who pairs them again does not want it gone.
        return Ok(Partner { draining: None, ..known.clone() });
    }
    let base = Partner::half(theirs.domain, theirs.incarnation, name, app.clock.now());
    // An introduction proves nothing: what is known of a domain stays until it has shown its keys, and grants are for who has
    // those, not for who bears the name.
    let is_proved_by_known = |it: &&Partner| {
        let cas = certificates_of_pem(&it.ca_pem);
        is_same(it) && (it.trust != Trust::Unpaired || named.iter().all(|named| cas.contains(named)))
    };
    let (kept, ca_pem) = match known.filter(is_proved_by_known) {
        Some(known) => {
            (Partner { paired: base.paired, draining: None, ..known.clone() }, known.ca_pem.clone())
        }
        None => (base, theirs.ca_pem.clone()),
    };
    let partner = Partner {
        incarnation: theirs.incarnation,
        name: name.to_owned(),
        url: theirs.url.clone(),
        data_address: theirs.data_addr.clone(),
        ca_pem,
        signing_key: theirs.signing_key.0,
        trust: Trust::Half,
        receive_pool: Some(pool_in(theirs.receive_pool)),
        reach: Reach::Up,
        dials: if theirs.dials_out { Dials::Partner } else { Dials::Both },
        ..kept
    };
    partner::check_meeting(&app.own(), &partners, &partner)
        .map_err(|refusal| ApiError::new(refusal.code, refusal.sentence).help(refusal.help))?;
    Ok(partner)
}

/// Both directions are proved: the pairing is complete on this side.
async fn finish(app: &App, partner: Partner, pong: &Pong) -> Result<Partner, Failure> {
    if pong.domain != partner.domain {
        return Err(ApiError::new("AUTH-006", format!("{} answers as another domain", partner.name)).into());
    }
    let skew_ms = time::millis_between(app.clock.now(), narrows_api::text::time_in(pong.clock));
    // What was read before the call may be old by now: an unpairing meanwhile stays.
    let complete = app.control.pairing_proved(partner, pool_in(pong.receive_pool), skew_ms).await?;
    app.control.tell(up(complete.domain, pong, skew_ms)).await;
    tracing::info!(partner = %complete.name, "paired");
    Ok(complete)
}

/// What follows from a partner's answer.
pub fn up(partner: DomainId, pong: &Pong, skew_ms: i64) -> Event {
    Event::PartnerUp {
        partner,
        receive_pool: Some(pool_in(pong.receive_pool)),
        pools: pong.pools.iter().copied().take(POOLS_MAX).map(pool_in).collect(),
        skew_ms: Some(skew_ms),
    }
}

/// Believes certificates of the partner's CA from now on.
pub fn believe(app: &App, partner: &Partner) -> Result<(), Failure> {
    let malformed = || ApiError::new(codes::MALFORMED, "no certificate").at("ca_pem");
    let named = certificates_of_pem(&partner.ca_pem);
    if named.is_empty() {
        return Err(malformed().into());
    }
    app.trust.set_domain(partner.domain, named).map_err(|_| malformed())?;
    app.partners.forget(partner.domain);
    app.parking.know(partner);
    Ok(())
}

/// A pool as the domain has it.
pub fn pool_in(pool: ReceivePool) -> partner::ReceivePool {
    partner::ReceivePool { pool: pool.pool, incarnation: pool.incarnation }
}

/// Whether a text is a host and a port.
pub fn is_authority(text: &str) -> bool {
    let is_port =
        text.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0));
    is_port && text.len() < 300 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]_".contains(&b))
}

fn check_name(name: &str) -> Result<(), Failure> {
    if is_plain_name(name) {
        return Ok(());
    }
    let error = ApiError::new(codes::MALFORMED, format!("{name:?} can't be a domain's name"))
        .because("1 to 63 letters, digits, `.`, `-`, `_` are a name");
    Err(error.into())
}

/// SLP-013 for a window that there is not.
async fn check_window(app: &App, window: Option<&str>) -> Result<(), Failure> {
    let Some(name) = window else { return Ok(()) };
    let windows = app.catalog.windows().await.map_err(|error| internal(&error))?;
    if windows.iter().any(|known| known.name == name) {
        return Ok(());
    }
    Err(ApiError::new("SLP-013", format!("there is no window `{name}`"))
        .help("see `narrowsctl window list`")
        .into())
}

async fn check_name_is_free(app: &App, name: &str, for_domain: Option<DomainId>) -> Result<(), Failure> {
    let partners = app.catalog.partners().await.map_err(|error| internal(&error))?;
    let is_taken = app.who.name == name
        || partners.iter().any(|partner| partner.name == name && Some(partner.domain) != for_domain);
    if !is_taken {
        return Ok(());
    }
    let error = ApiError::new("TRUST-002", format!("the name `{name}` is taken in domain `{}`", app.who.name))
        .because("a domain's name is unique in each domain that knows it")
        .help(format!(
            "give it another name there: `narrowsctl domain pair LINE --as NAME`, or `domain invite --as NAME` in `{}`",
            app.who.name
        ));
    Err(error.into())
}
