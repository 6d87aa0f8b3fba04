//! Runs what was typed: each command asks, and prints the answer.

mod audit;
mod catalog;
mod certificates;
mod clients;
mod contexts;
mod damage;
mod domains;
mod events;
mod expiry;
mod finding;
mod images;
mod jobs;
mod local;
mod orders;
mod partners;
mod policies;
mod pools;
mod removing;
mod reports;
mod servers;
mod slp_texts;
mod slps;
mod storage;
mod templates;
mod timeline;
mod topology;
mod transfers;
mod windows;

use narrows_agent::renewal::{self, Standing};
use narrows_api::{ExitCode, context::Context};

pub(crate) use clients::enroll;
pub(crate) use jobs::wait;

use crate::{
    api::Api,
    cli::{Cli, Command, ProblemCommand, TopologyCommand},
    context::{Contexts, SOCKET},
    demo,
    failure::Outcome,
    output::Style,
};

/// What every command has at hand.
pub(crate) struct Session {
    pub(crate) style: Style,
    contexts: Contexts,
    asked: Option<String>,
}

impl Session {
    /// The context in use and its name.
    fn context(&self) -> Outcome<(String, Context)> {
        self.contexts.choose(self.asked.as_deref())
    }

    /// The context's API, as its administrator.
    fn administrator(&self) -> Outcome<Api> {
        Api::as_administrator(&self.context()?.1)
    }

    /// The context's API, as a client enrolled here; its certificate is renewed before when it is due.
    async fn client(&self, asked: Option<&str>) -> Outcome<Api> {
        let (context, _) = self.context()?;
        let contexts = self.contexts.clone();
        let standing = Standing { contexts, context, client: asked.map(str::to_owned), clock: renewal::wall };
        let speaker = standing.speak().await?;
        if let Some(failure) = speaker.not_renewed {
            self.style.remark(&format!("the certificate could not be renewed, it still holds: {failure}"));
        }
        Ok(speaker.api)
    }

    /// The same with the administrator's token, where the context has one: what is restored may then be another client's.
    async fn restorer(&self, asked: Option<&str>) -> Outcome<Api> {
        Ok(self.client(asked).await?.and_administrator(&self.context()?.1))
    }

    /// As administrator where the context can, else as the client enrolled here: for reading.
    fn reader(&self) -> Outcome<Api> {
        let (name, context) = self.context()?;
        if context.token.is_some() || context.url.starts_with(SOCKET) {
            return Api::as_administrator(&context);
        }
        Api::as_client(&context, &self.contexts.client(&name, None)?)
    }
}

/// Runs the command. An exit code other than 0 without a failure: done, but partial.
pub(crate) async fn run(cli: Cli) -> Outcome<ExitCode> {
    let style = if cli.json { Style::Json } else { Style::Text };
    let session = Session { style, contexts: Contexts::of_user()?, asked: cli.context };
    match cli.command {
        Command::Backup(args) => return transfers::backup(&session, args).await,
        Command::Restore(args) => return transfers::restore(&session, args).await,
        Command::Doctor { domain } => return reports::doctor(&session, domain).await,
        Command::Slp(command) => return slps::run(&session, command).await,
        Command::Policy(command) => return policies::run(&session, command).await,
        Command::Demo(args) => demo::run(&args, style).await?,
        Command::Status => reports::status(&session).await?,
        Command::Context(command) => contexts::run(&session, &command)?,
        Command::Image(command) => images::run(&session, command).await?,
        Command::Window(command) => windows::run(&session, command).await?,
        Command::Classification(command) => storage::classifications(&session, command).await?,
        Command::Pool(command) => pools::pools(&session, command).await?,
        Command::Volume(command) => pools::volumes(&session, command).await?,
        Command::StorageUnit(command) => storage::units(&session, command).await?,
        Command::Target(command) => storage::targets(&session, command).await?,
        Command::Client(command) => clients::run(&session, command).await?,
        Command::MediaServer(command) => servers::run(&session, command).await?,
        Command::Domain(command) => domains::run(&session, command).await?,
        Command::Import(command) => jobs::imports(&session, command).await?,
        Command::Event(command) => events::run(&session, command).await?,
        Command::Audit(command) => audit::run(&session, command).await?,
        Command::Job(command) => jobs::run(&session, command).await?,
        Command::Topology(TopologyCommand::Show) => topology::show(&session).await?,
        Command::Replica(command) => topology::replicas(&session, command).await?,
        Command::Catalog(command) => catalog::run(&session, command).await?,
        Command::Cert(command) => certificates::run(&session, command).await?,
        Command::Problem(ProblemCommand::List { limit }) => reports::problems(&session, limit).await?,
        Command::Completions { shell } => local::completions(shell)?,
        Command::Man { dir } => local::man(&dir)?,
    }
    Ok(ExitCode::Done)
}
