//! `narrowsd`: the server, and the agent on a client. Parses, starts, and says what went wrong.
#![forbid(unsafe_code)]

use std::{path::PathBuf, process::ExitCode, sync::LazyLock};

use clap::{Parser, Subcommand};
use narrows_agent::{
    agent::Agent,
    context::Contexts,
    failure::{Failure, Outcome, codes},
    hooks::{Hooks, usual_folder},
    renewal::{self, Standing},
};
use narrows_format::{node, superblock};
use narrows_server::{
    config::{BadSetting, LogFormat, Settings},
    folder::{Folder, FolderError, Membership},
    init::{self, Init, InitError, SegmentMean},
    joined::joining::{self, Invited, Join},
    logging, notify,
    run::{self, RunError, Signals},
};
use narrows_wire::hello;
use tokio::sync::watch;

/// Deduplicating backup storage that replicates between domains: the server, and the agent on a client.
#[derive(Parser)]
#[command(
    name = "narrowsd",
    version,
    long_version = long_version(),
    propagate_version = true,
    after_help = EXAMPLES
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  narrowsd init --domain east --data /srv/east --listen 127.0.0.1:7400
  narrowsd run --data /srv/east
  narrowsd client --context east";

#[derive(Subcommand)]
enum Command {
    /// Makes a domain (CA, certificates, catalog, pool, administrator), or joins one as a media server. Never overwrites.
    #[command(
        after_help = "Examples:\n  narrowsd init --domain east --data /srv/east --listen 127.0.0.1:7400\n  \
                      narrowsd init --join 'narrows-join://10.0.0.1:7400/?...' --data /srv/m1 --listen 10.0.0.2:7400\n  \
                      narrowsd init --join https://10.0.0.1:7400 --token 0f3a... --data /srv/m1 --listen 10.0.0.2:7400"
    )]
    Init {
        /// The domain's name.
        #[arg(long, env = "NARROWS_DOMAIN", value_name = "NAME", required_unless_present = "join")]
        domain: Option<String>,
        /// Joins a domain as a media server instead: the line that `narrowsctl media-server invite` prints, or its URL.
        #[arg(long, value_name = "LINE_OR_URL", conflicts_with = "segment_mean")]
        join: Option<String>,
        /// With a URL: the token that was printed with it.
        #[arg(long, value_name = "TOKEN", requires = "join")]
        token: Option<String>,
        /// Where everything is to lie; empty or not there yet.
        #[arg(long, env = "NARROWS_DATA", value_name = "DIR")]
        data: PathBuf,
        /// Mean length of segments, fixed for good; smaller ones save more and cost more memory.
        #[arg(long, env = "NARROWS_SEGMENT_MEAN", value_enum, default_value_t, value_name = "SIZE")]
        segment_mean: SegmentMean,
        #[command(flatten)]
        settings: Settings,
    },
    /// Runs the server. Settings come from flags, then NARROWS_*, then DIR/narrowsd.toml.
    #[command(after_help = "Example:\n  narrowsd run --data /srv/east")]
    Run {
        /// The data folder.
        #[arg(long, env = "NARROWS_DATA", value_name = "DIR")]
        data: PathBuf,
        #[command(flatten)]
        settings: Settings,
    },
    /// Runs the agent on a client: it dials out to its domain and does the backups that policies schedule.
    #[command(after_help = "Examples:\n  narrowsctl client enroll web01 --line 'narrows-enroll://...'\n  \
                            narrowsd client\n  narrowsd client --context east --as web01 --hooks /etc/narrows/hooks")]
    Client {
        /// The context that `narrowsctl client enroll` kept; the one in use when none is named.
        #[arg(long, env = "NARROWS_CONTEXT", value_name = "NAME")]
        context: Option<String>,
        /// The client to act as, when several are enrolled here.
        #[arg(long = "as", value_name = "CLIENT")]
        client: Option<String>,
        /// The folder of the programs that policies may run before and after a backup.
        #[arg(long, env = "NARROWS_HOOKS", value_name = "DIR", default_value_os = usual_folder().as_os_str())]
        hooks: PathBuf,
    },
}

/// With the commit and the formats.
fn long_version() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        format!(
            "{}\ncommit: {}\nwire format: {}..{}\npool format: {}\nimage format: {}",
            env!("CARGO_PKG_VERSION"),
            env!("NARROWS_COMMIT"),
            hello::VERSION_MIN,
            hello::VERSION_MAX,
            superblock::VERSION,
            node::VERSION,
        )
    });
    &TEXT
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(run::CONTROL_THREADS)
        .thread_name("control")
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, "", 1),
    };
    match arguments.command {
        Command::Init { join: Some(line), token, data, settings, .. } => {
            report_join(runtime.block_on(join(&line, token.as_deref(), data, settings)))
        }
        Command::Init { domain: None, .. } => {
            let bad = BadSetting { field: "domain", sentence: "a new domain needs a name".to_owned() };
            fail(&bad, "`--domain NAME`, or `--join LINE` to join one", 2)
        }
        Command::Init { domain: Some(domain), data, segment_mean, settings, .. } => {
            match runtime.block_on(init::init(Init { name: domain, data, settings, segment_mean })) {
                Ok(made) => {
                    println!("domain {} ({}) is made. Go on with:", made.identity.name, made.identity.domain);
                    println!();
                    made.next.iter().for_each(|line| println!("    {line}"));
                    ExitCode::SUCCESS
                }
                Err(error) => {
                    let (help, code) = help_for_init(&error);
                    fail(&error, help, code)
                }
            }
        }
        Command::Run { data, settings } => match runtime.block_on(run::run(Folder::new(data), settings)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                let (help, code) = help_for_run(&error);
                fail(&error, help, code)
            }
        },
        Command::Client { context, client, hooks } => {
            match runtime.block_on(agent(context.as_deref(), client.as_deref(), hooks)) {
                Ok(()) => ExitCode::SUCCESS,
                Err(failure) => {
                    eprintln!("{failure}");
                    ExitCode::from(failure.exit_code() as u8)
                }
            }
        }
    }
}

async fn join(
    line: &str,
    token: Option<&str>,
    data: PathBuf,
    settings: Settings,
) -> Result<(Membership, PathBuf), InitError> {
    let at = Invited::read(line, token)?;
    Ok((joining::join(Join { at, data: data.clone(), settings }).await?, data))
}

fn report_join(outcome: Result<(Membership, PathBuf), InitError>) -> ExitCode {
    match outcome {
        Ok((member, data)) => {
            let name = &member.name;
            println!(
                "media server {name} ({}) is one of domain {}. Go on with:",
                member.server, member.domain_name
            );
            println!();
            println!("    narrowsd run --data {}", data.display());
            println!("    narrowsctl pool create NAME --server {name} --data DIR");
            ExitCode::SUCCESS
        }
        // It has a code, and its own help.
        Err(InitError::Join(failure)) => {
            eprintln!("{failure}");
            ExitCode::from(failure.exit_code() as u8)
        }
        Err(error) => {
            let (help, code) = help_for_init(&error);
            fail(&error, help, code)
        }
    }
}

/// Works until SIGTERM or SIGINT.
async fn agent(context: Option<&str>, client: Option<&str>, hooks: PathBuf) -> Outcome<()> {
    let _log = logging::start(LogFormat::Text);
    let contexts = Contexts::of_user()?;
    let (name, context) = contexts.choose(context)?;
    let client = client.map(str::to_owned);
    let standing = Standing { contexts, context: name, client, clock: renewal::wall };
    let mut agent = Agent::new(standing, Hooks::at(hooks)).await?;
    let (stop, stopped) = watch::channel(false);
    let mut signals = Signals::new()
        .map_err(|error| Failure::new(codes::BUG, "signals can't be heard").because(error.to_string()))?;
    tokio::spawn(async move {
        signals.wait().await;
        notify::tell(notify::State::Stopping);
        stop.send_replace(true);
    });
    tracing::info!(url = context.url, "the agent is ready");
    notify::tell(notify::State::Ready);
    agent.run(stopped).await
}

fn fail(error: &dyn std::error::Error, help: &str, code: u8) -> ExitCode {
    eprintln!("error: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        eprintln!("  why: {cause}");
        source = cause.source();
    }
    if !help.is_empty() {
        eprintln!("  help: {help}");
    }
    ExitCode::from(code)
}

fn help_for_init(error: &InitError) -> (&'static str, u8) {
    match error {
        InitError::NotEmpty(_) => ("`init` never overwrites: name an empty folder", 3),
        InitError::Folder(FolderError::Initialised(_)) => ("`narrowsd run --data DIR` runs it", 3),
        InitError::Name(_) | InitError::Setting(_) => ("", 2),
        InitError::Join(failure) => ("", failure.exit_code() as u8),
        _ => ("", 1),
    }
}

fn help_for_run(error: &RunError) -> (&'static str, u8) {
    match error {
        RunError::Folder(FolderError::NotInitialised(_)) => {
            ("`narrowsd init --domain NAME --data DIR` makes one", 2)
        }
        RunError::Folder(FolderError::InUse(_)) => ("stop the other one first", 3),
        RunError::Setting(_) => ("", 2),
        _ => ("", 1),
    }
}
