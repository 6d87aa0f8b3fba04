//! `client enroll|list|show|rename|grant|replace|revoke`: a key made here, a certificate against a one-time token.

use narrows_agent::renewal::signing_request;
use narrows_api::{
    Hex,
    clients::{
        ClientInfo, EnrollReply, EnrollRequest, GrantRequest, RenameRequest, TokenReply, TokenRequest,
    },
    context::Context,
    invitation::{Invitation, Purpose},
    paths,
};
use serde::Serialize;

use super::Session;
use crate::{
    api::{self, Api, filled},
    cli::ClientCommand,
    context::plain,
    failure::{Failure, Outcome},
    output::{counted, table, time, time_or_dash},
};

/// What `client enroll` says.
#[derive(Serialize)]
struct Enrolled {
    client: String,
    name: String,
    domain: String,
    domain_name: String,
}

pub(super) async fn run(session: &Session, command: ClientCommand) -> Outcome<()> {
    match command {
        ClientCommand::Enroll { name, line: Some(line), .. } => by_line(session, &name, &line).await,
        ClientCommand::Enroll { name, print_line: true, .. } => {
            let reply = token(&session.administrator()?, &name).await?;
            session.style.show(&reply, |reply| reply.line.clone())
        }
        ClientCommand::Enroll { name, .. } => {
            let (context_name, context) = session.context()?;
            let api = Api::as_administrator(&context)?;
            let (credentials, reply) = enroll(&api, &context, &name).await?;
            session.contexts.add_client(&context_name, &reply.name, &credentials)?;
            say(session, &reply)
        }
        ClientCommand::Show { name } => {
            let info: ClientInfo = session.administrator()?.get(&filled(paths::CLIENT, &name), &()).await?;
            session.style.show(&info, shown)
        }
        ClientCommand::Rename { name, new } => {
            let path = filled(paths::CLIENT_RENAME, &name);
            let request = RenameRequest { name: new };
            let info: ClientInfo = session.administrator()?.post(&path, &request).await?;
            session.style.show(&info, shown)
        }
        ClientCommand::Replace { name, print_line, consent } => {
            let (context_name, context) = session.context()?;
            let api = Api::as_administrator(&context)?;
            // A line revokes nothing before it is used.
            if !print_line {
                let info: ClientInfo = api.get(&filled(paths::CLIENT, &name), &()).await?;
                if consent.dry_run {
                    return session.style.show(&info, replaced);
                }
                consent.ask(session.style, &replaced(&info), &info.name)?;
            }
            let line: TokenReply = api.post(&filled(paths::CLIENT_REPLACE, &name), &()).await?;
            if print_line {
                return session.style.show(&line, |reply| reply.line.clone());
            }
            let (credentials, reply) = enroll_by(&api, &context, &line.line, &name).await?;
            session.contexts.add_client(&context_name, &reply.name, &credentials)?;
            say(session, &reply)
        }
        ClientCommand::Revoke { name, consent } => {
            let api = session.administrator()?;
            let info: ClientInfo = api.get(&filled(paths::CLIENT, &name), &()).await?;
            if consent.dry_run {
                return session.style.show(&info, revoking);
            }
            consent.ask(session.style, &revoking(&info), &name)?;
            let info: ClientInfo = api.post(&filled(paths::CLIENT_REVOKE, &name), &()).await?;
            session.style.show(&info, shown)
        }
        ClientCommand::Grant { name, rights, revoke } => {
            grant(session, &name, GrantRequest { grant: rights, revoke }).await
        }
        ClientCommand::List => {
            let clients: Vec<ClientInfo> = session.administrator()?.get(paths::CLIENTS, &()).await?;
            session.style.show(&clients, |clients| {
                let row = |info: &ClientInfo| {
                    let last = time_or_dash(info.last_backup);
                    let until = time_or_dash(info.certificate_until);
                    vec![info.name.clone(), info.client.to_string(), time(info.enrolled), last, until]
                };
                let rows: Vec<_> = clients.iter().map(row).collect();
                table(&["NAME", "CLIENT", "ENROLLED", "LAST BACKUP", "CERTIFICATE UNTIL"], &rows)
            })
        }
    }
}

async fn grant(session: &Session, name: &str, request: GrantRequest) -> Outcome<()> {
    let path = filled(paths::CLIENT_GRANT, name);
    let info: ClientInfo = session.administrator()?.post(&path, &request).await?;
    session.style.show(&info, shown)
}

/// What a replacement ends, for people.
fn replaced(info: &ClientInfo) -> String {
    format!(
        "{}: its certificate until {} is revoked, and its connections end; last backup {}, {}",
        info.name,
        time_or_dash(info.certificate_until),
        time_or_dash(info.last_backup),
        counted(info.policies.len(), "policy", "policies")
    )
}

/// What a revocation would do.
fn revoking(info: &ClientInfo) -> String {
    let mut lines = vec![format!(
        "client `{}` would not be believed any more: it backs up and restores nothing until `client replace`",
        info.name
    )];
    lines.extend(
        info.policies
            .iter()
            .map(|policy| format!("  policy `{policy}` names it, and makes no more runs of it")),
    );
    lines.join("\n")
}

fn shown(info: &ClientInfo) -> String {
    let mut lines = vec![
        format!("name          {}", info.name),
        format!("client        {}", info.client),
        format!("enrolled      {}", time(info.enrolled)),
        format!("last backup   {}", time_or_dash(info.last_backup)),
        format!(
            "certificate   until {}, then renewed by its agent or a backup",
            time_or_dash(info.certificate_until)
        ),
        format!(
            "before it     {} not believed, {} until they end",
            info.former_certificates, info.still_believed
        ),
    ];
    lines.extend(info.revoked.map(|revoked| format!("revoked       {}", time(revoked))));
    lines.extend(info.rights.iter().map(|right| format!("right         {right}")));
    lines.extend(info.policies.iter().map(|policy| format!("policy        {policy}")));
    lines.extend(info.former_names.iter().map(|former| {
        format!("was           {} from {} to {}", former.name, time(former.from), time(former.until))
    }));
    lines.join("\n")
}

async fn token(api: &Api, name: &str) -> Outcome<TokenReply> {
    let request = TokenRequest { name: Some(name.to_owned()), expires_in_seconds: None };
    api.post(paths::CLIENT_TOKENS, &request).await
}

/// Enrolls a client of the context's own domain, as its administrator. Gives what to keep, and what the server said.
pub(crate) async fn enroll(
    administrator: &Api,
    context: &Context,
    name: &str,
) -> Outcome<(Context, EnrollReply)> {
    let line = token(administrator, name).await?.line;
    enroll_by(administrator, context, &line, name).await
}

/// The same by a line that the domain has just made.
async fn enroll_by(
    administrator: &Api,
    context: &Context,
    line: &str,
    name: &str,
) -> Outcome<(Context, EnrollReply)> {
    let invitation = read_line(line)?;
    let (request, key) = request(&invitation, name)?;
    let reply: EnrollReply = administrator.post(paths::CLIENT_ENROLL, &request).await?;
    Ok((credentials(&context.url, &reply, &key), reply))
}

/// Enrolls with a line that somebody else's administrator made; the domain becomes a context of its own.
async fn by_line(session: &Session, name: &str, line: &str) -> Outcome<()> {
    let invitation = read_line(line)?;
    // Before the token is spent and the only certificate for it comes: may it be kept under this name?
    if let Some(asked) = &session.asked {
        check_context(session, asked, invitation.ca_fingerprint)?;
    }
    let (request, key) = request(&invitation, name)?;
    let url = invitation.url();
    let reply: EnrollReply =
        api::first_contact(&url, invitation.ca_fingerprint, paths::CLIENT_ENROLL, &request).await?;
    if !api::is_ca(&reply.ca_pem, invitation.ca_fingerprint)? {
        return Err(Failure::new("AUTH-006", "the CA that came is not the one that the line names").at(url));
    }
    let credentials = credentials(&url, &reply, &key);
    let bare = Context { certificate_pem: None, key_pem: None, ..credentials.clone() };
    let context_name = match &session.asked {
        Some(asked) => asked.clone(),
        None => free_name(session, &reply)?,
    };
    if !session.contexts.names()?.contains(&context_name) {
        session.contexts.add(&context_name, &bare)?;
    }
    session.contexts.add_client(&context_name, &reply.name, &credentials)?;
    say(session, &reply)
}

/// A context of that name must be of the domain that the line names, or not be there yet.
fn check_context(session: &Session, name: &str, ca: Hex<32>) -> Outcome<()> {
    let is_known = session.contexts.names()?.iter().any(|known| known == name);
    if !is_known || api::is_ca(&session.contexts.load(name)?.ca_pem, ca)? {
        return plain(name).map(|_| ());
    }
    Err(Failure::usage(format!("context `{name}` is another domain"))
        .help("choose a name that is free: narrowsctl --context NAME client enroll ..."))
}

/// What the domain calls itself; with its UUID when another domain has that name here. The certificate has come, so
/// it must be kept in any case.
fn free_name(session: &Session, reply: &EnrollReply) -> Outcome<String> {
    let name = &reply.domain_name;
    let domain = reply.domain.to_string();
    let is_taken = session.contexts.names()?.contains(name) && session.contexts.load(name)?.domain != domain;
    if !is_taken {
        return Ok(name.clone());
    }
    let free = format!("{name}-{domain}");
    session.style.remark(&format!("context `{name}` is another domain; this one is context `{free}`"));
    Ok(free)
}

fn read_line(line: &str) -> Outcome<Invitation> {
    let invitation: Invitation = line.parse().map_err(|bad| Failure::usage(format!("{bad}")))?;
    if invitation.purpose == Purpose::Enroll {
        return Ok(invitation);
    }
    Err(Failure::usage("this line enrolls no client").help(
        "`narrowsctl domain pair LINE` pairs domains, `narrowsd init --join LINE` makes a media server",
    ))
}

/// A new key, and what asks for its certificate.
fn request(invitation: &Invitation, name: &str) -> Outcome<(EnrollRequest, String)> {
    let (csr_pem, key) = signing_request()?;
    Ok((EnrollRequest { token: invitation.token.to_string(), csr_pem, name: name.to_owned() }, key))
}

fn credentials(url: &str, reply: &EnrollReply, key: &str) -> Context {
    Context {
        name: reply.name.clone(),
        domain: reply.domain.to_string(),
        url: url.to_owned(),
        ca_pem: reply.ca_pem.clone(),
        token: None,
        certificate_pem: Some(reply.certificate_pem.clone()),
        key_pem: Some(key.to_owned()),
    }
}

fn say(session: &Session, reply: &EnrollReply) -> Outcome<()> {
    let enrolled = Enrolled {
        client: reply.client.to_string(),
        name: reply.name.clone(),
        domain: reply.domain.to_string(),
        domain_name: reply.domain_name.clone(),
    };
    session.style.show(&enrolled, |said| format!("{} is a client of {}", said.name, said.domain_name))
}
