//! Settings: flags before `NARROWS_*` before `narrowsd.toml`.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::Path,
    str::FromStr,
    time::Duration,
};

use narrows_domain::period::Period;
use serde::{Deserialize, Serialize};

pub use crate::switches::Switches;

use crate::limits::{MEMORY_BYTES_DEFAULT, MEMORY_BYTES_MIN, SCRUB_EVERY_DEFAULT, SCRUB_RATE_DEFAULT};

/// Bytes as people write them: `1GiB`, `64MiB`, `500MB`, `4096`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Memory(pub u64);

/// Cores as people write them: `0-3`, `0,2,5-6`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cores(pub Vec<usize>);

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One object a line.
    Json,
}

/// Settings as one of the three places says them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Address of the API; data goes over the next port. 127.0.0.1:7400 unless set.
    #[arg(long, env = "NARROWS_LISTEN", value_name = "ADDR:PORT")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// Host name or address that others reach this server by, when it is not the one it listens on.
    #[arg(long, env = "NARROWS_ADVERTISE", value_name = "HOST")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advertise: Option<String>,
    /// Cores of the data plane, e.g. 0-3; all unless set.
    #[arg(long, env = "NARROWS_CORES", value_name = "LIST")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cores: Option<Cores>,
    /// Memory for everything, huge pages included, e.g. 2GiB; at least 64MiB, 1GiB unless set.
    #[arg(long, env = "NARROWS_MEMORY", value_name = "BYTES")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// How the log is written; text unless set.
    #[arg(long, env = "NARROWS_LOG_FORMAT", value_name = "FORMAT")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_format: Option<LogFormat>,
    /// How long the data of a failed import is kept; then the source is told to send again. 7d unless set.
    #[arg(long, env = "NARROWS_FAILED_IMPORT_KEEP", value_name = "PERIOD")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_import_keep: Option<Period>,
    /// An import that is pending longer than this is a problem; 24h unless set.
    #[arg(long, env = "NARROWS_PENDING_IMPORT_MAX", value_name = "PERIOD")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_import_max: Option<Period>,
    /// A scrub of each pool begins so long after the one before; 30d unless set.
    #[arg(long, env = "NARROWS_SCRUB_EVERY", value_name = "PERIOD")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scrub_every: Option<Period>,
    /// Such a scrub reads so many bytes a second; 50MiB unless set.
    #[arg(long, env = "NARROWS_SCRUB_RATE", value_name = "BYTES")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scrub_rate: Option<Memory>,
    /// A program by its whole path, and its arguments in further ones: it is run for each problem that is new, and reads it as JSON.
    /// No shell is asked.
    #[arg(long, env = "NARROWS_NOTIFY", value_name = "PROGRAM", allow_hyphen_values = true)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<Vec<String>>,
    /// What only tests set; see there.
    #[command(flatten)]
    #[serde(default, skip_serializing_if = "Switches::are_off")]
    pub test: Switches,
}

/// Settings with every question answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Address of the API.
    pub listen: SocketAddr,
    /// Address of the data plane.
    pub data_listen: SocketAddr,
    /// Host that others reach this server by.
    pub host: String,
    /// Cores of the data plane.
    pub cores: Vec<usize>,
    /// Bytes for everything.
    pub memory: u64,
    /// How the log is written.
    pub log_format: LogFormat,
    /// What the domain is decided by.
    pub domain: narrows_domain::Settings,
    /// A scrub of each pool begins so long after the one before.
    pub scrub_every: Duration,
    /// And reads so many bytes a second.
    pub scrub_rate: u64,
    /// The program that is run for each new problem, and its arguments; empty is none.
    pub notify: Vec<String>,
    /// What only tests set.
    pub test: Switches,
}

/// A setting that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {sentence}")]
pub struct BadSetting {
    /// Which.
    pub field: &'static str,
    /// What is amiss.
    pub sentence: String,
}

impl BadSetting {
    fn new(field: &'static str, sentence: impl Into<String>) -> Self {
        Self { field, sentence: sentence.into() }
    }
}

/// Where a server listens when nobody says.
pub const LISTEN_DEFAULT: &str = "127.0.0.1:7400";

impl Settings {
    /// Reads `narrowsd.toml`.
    pub fn load(path: &Path) -> Result<Self, BadSetting> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| BadSetting::new("narrowsd.toml", error.to_string()))?;
        toml::from_str(&text).map_err(|error| BadSetting::new("narrowsd.toml", error.to_string()))
    }

    /// What `self` does not say, `below` says.
    #[must_use]
    pub fn over(self, below: Self) -> Self {
        Self {
            listen: self.listen.or(below.listen),
            advertise: self.advertise.or(below.advertise),
            cores: self.cores.or(below.cores),
            memory: self.memory.or(below.memory),
            log_format: self.log_format.or(below.log_format),
            failed_import_keep: self.failed_import_keep.or(below.failed_import_keep),
            pending_import_max: self.pending_import_max.or(below.pending_import_max),
            scrub_every: self.scrub_every.or(below.scrub_every),
            scrub_rate: self.scrub_rate.or(below.scrub_rate),
            notify: self.notify.or(below.notify),
            test: self.test.over(below.test),
        }
    }

    /// Answers every question.
    pub fn resolve(self) -> Result<Config, BadSetting> {
        let listen = match self.listen {
            Some(listen) => listen,
            None => LISTEN_DEFAULT.parse().map_err(|_| BadSetting::new("listen", "no address"))?,
        };
        let data_port = listen.port().checked_add(1).filter(|_| listen.port() != 0).ok_or_else(|| {
            BadSetting::new("listen", "the port and the one after it are needed: 1 to 65534")
        })?;
        let host = match self.advertise {
            Some(host) if is_host(&host) => host,
            Some(host) => return Err(BadSetting::new("advertise", format!("{host:?} is no host name"))),
            None if listen.ip().is_unspecified() => {
                return Err(BadSetting::new(
                    "advertise",
                    "listening on every address, the server must be told the host name that others reach it by",
                ));
            }
            None => listen.ip().to_string(),
        };
        let memory = self.memory.unwrap_or(Memory(MEMORY_BYTES_DEFAULT)).0;
        if memory < MEMORY_BYTES_MIN {
            return Err(BadSetting::new("memory", "at least 64MiB are needed"));
        }
        let usual = narrows_domain::Settings::default();
        let test = self.test;
        let domain = narrows_domain::Settings {
            failed_import_keep: self.failed_import_keep.map_or(usual.failed_import_keep, Period::span),
            pending_import_max: self.pending_import_max.map_or(usual.pending_import_max, Period::span),
            image_format_max: test
                .image_format_max
                .map_or(usual.image_format_max, |cap| cap.min(usual.image_format_max)),
        };
        let scrub_rate = self.scrub_rate.map_or(SCRUB_RATE_DEFAULT, |rate| rate.0);
        if scrub_rate == 0 {
            return Err(BadSetting::new("scrub_rate", "zero bytes a second never end; the least is 1"));
        }
        let notify = self.notify.unwrap_or_default();
        if notify.first().is_some_and(|program| !Path::new(program).is_absolute()) {
            return Err(BadSetting::new("notify", format!("{:?} is no whole path of a program", notify[0])));
        }
        Ok(Config {
            domain,
            scrub_every: self.scrub_every.map_or(SCRUB_EVERY_DEFAULT, Period::span),
            scrub_rate,
            notify,
            test,
            listen,
            data_listen: SocketAddr::new(listen.ip(), data_port),
            host,
            cores: self.cores.map_or_else(narrows_ring::cores::available, |cores| cores.0),
            memory,
            log_format: self.log_format.unwrap_or_default(),
        })
    }
}

impl Config {
    /// Base URL of the API as others reach it.
    pub fn url(&self) -> String {
        format!("https://{}", self.address(self.listen.port()))
    }

    /// Host and port of the data plane as others reach it.
    pub fn data_addr(&self) -> String {
        self.address(self.data_listen.port())
    }

    /// Host and port of the API as others reach it.
    pub fn api_addr(&self) -> String {
        self.address(self.listen.port())
    }

    fn address(&self, port: u16) -> String {
        match self.host.parse::<IpAddr>() {
            Ok(ip) => SocketAddr::new(ip, port).to_string(),
            Err(_) => format!("{}:{port}", self.host),
        }
    }
}

fn is_host(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
        || (!text.is_empty()
            && text.len() <= 253
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.'))
}

impl FromStr for Memory {
    type Err = BadSetting;

    fn from_str(text: &str) -> Result<Self, BadSetting> {
        // Memory is given in it, and how fast a scrub reads.
        let bad = || BadSetting::new("size", format!("{text:?} is no size; write e.g. 2GiB or 512MiB"));
        narrows_api::size::bytes_in(text.trim()).map(Self).ok_or_else(bad)
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
            if self.0 > 0 && self.0.is_multiple_of(1 << shift) {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}", self.0)
    }
}

impl FromStr for Cores {
    type Err = BadSetting;

    fn from_str(text: &str) -> Result<Self, BadSetting> {
        let bad = || BadSetting::new("cores", format!("{text:?} is no list of cores; write e.g. 0-3 or 0,2"));
        let mut cores = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let first: usize = first.trim().parse().map_err(|_| bad())?;
            let last: usize = last.trim().parse().map_err(|_| bad())?;
            if first > last || last >= 1024 {
                return Err(bad());
            }
            cores.extend(first..=last);
        }
        cores.sort_unstable();
        cores.dedup();
        Ok(Self(cores))
    }
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, core) in self.0.iter().enumerate() {
            write!(f, "{}{core}", if at > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

impl TryFrom<String> for Memory {
    type Error = BadSetting;
    fn try_from(text: String) -> Result<Self, BadSetting> {
        text.parse()
    }
}

impl From<Memory> for String {
    fn from(memory: Memory) -> Self {
        memory.to_string()
    }
}

impl TryFrom<String> for Cores {
    type Error = BadSetting;
    fn try_from(text: String) -> Result<Self, BadSetting> {
        text.parse()
    }
}

impl From<Cores> for String {
    fn from(cores: Cores) -> Self {
        cores.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_cores_read_what_they_write() {
        for (text, bytes) in
            [("64MiB", 64 << 20), ("2GiB", 2 << 30), ("4097", 4097), ("1500MB", 1_500_000_000)]
        {
            let memory: Memory = text.parse().unwrap();
            assert_eq!(memory.0, bytes);
            assert_eq!(memory.to_string().parse(), Ok(memory));
        }
        for bad in ["", "GiB", "-1", "1.5GiB", "99999999999TiB", "1 PiB"] {
            assert!(bad.parse::<Memory>().is_err(), "{bad}");
        }
        assert_eq!("0-2,5".parse(), Ok(Cores(vec![0, 1, 2, 5])));
        assert_eq!("0,1,2,5".parse::<Cores>().unwrap().to_string(), "0,1,2,5");
        for bad in ["", "a", "3-1", "0-99999999", "1,"] {
            assert!(bad.parse::<Cores>().is_err(), "{bad}");
        }
    }

    #[test]
    fn nearer_places_win() {
        let file = Settings {
            listen: Some("127.0.0.1:1000".parse().unwrap()),
            memory: Some(Memory(128 << 20)),
            ..Settings::default()
        };
        let flags = Settings { listen: Some("127.0.0.1:2000".parse().unwrap()), ..Settings::default() };
        let config = flags.over(file).resolve().unwrap();
        assert_eq!(config.data_listen, "127.0.0.1:2001".parse().unwrap());
        assert_eq!(config.memory, 128 << 20);
        assert_eq!(config.url(), "https://127.0.0.1:2000");
    }

    #[test]
    fn what_nobody_could_reach_is_refused() {
        let everywhere = Settings { listen: Some("0.0.0.0:7400".parse().unwrap()), ..Settings::default() };
        assert_eq!(everywhere.clone().resolve().unwrap_err().field, "advertise");
        let named = Settings { advertise: Some("host.example".into()), ..everywhere };
        assert_eq!(named.resolve().unwrap().data_addr(), "host.example:7401");
        let last = Settings { listen: Some("127.0.0.1:65535".parse().unwrap()), ..Settings::default() };
        assert_eq!(last.resolve().unwrap_err().field, "listen");
        let little = Settings { memory: Some(Memory(1)), ..Settings::default() };
        assert_eq!(little.resolve().unwrap_err().field, "memory");
        let by_name = Settings { notify: Some(vec!["mail".into()]), ..Settings::default() };
        assert_eq!(by_name.resolve().unwrap_err().field, "notify");
    }
}
