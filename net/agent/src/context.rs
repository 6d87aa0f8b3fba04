//! Where to talk to and as whom: contexts and client certificates in `$XDG_CONFIG_HOME/narrows`.
//!
//! ```text
//!     current                      the name of the context in use
//!     NAME/context.toml            URL, CA, and the administrator's token if there is one
//!     NAME/client                  the name of the client to back up and restore as
//!     NAME/clients/CLIENT.toml     an enrolled client's certificate and key
//! ```
//!
//! Files are readable by their owner only and written whole (a new file renamed over the old one).

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, fchown},
    path::{Path, PathBuf},
};

use narrows_api::context::Context;

use crate::failure::{Failure, Outcome, codes};

/// The folder of contexts.
#[derive(Clone, Debug)]
pub struct Contexts {
    root: PathBuf,
}

impl Contexts {
    /// The user's own.
    pub fn of_user() -> Outcome<Self> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let config = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")));
        let config = config.ok_or_else(|| {
            Failure::new(codes::MISSING, "there is no folder for contexts")
                .because("neither XDG_CONFIG_HOME nor HOME is set")
                .help("set XDG_CONFIG_HOME to a folder that only you can read")
        })?;
        Ok(Self::at(config.join("narrows")))
    }

    /// Some folder.
    pub fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// Names of all contexts, sorted.
    pub fn names(&self) -> Outcome<Vec<String>> {
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Failure::file("the contexts cannot be listed", &self.root, &error)),
        };
        let mut names: Vec<String> = entries
            .filter_map(Result::ok)
            .filter(|entry| entry.path().join("context.toml").is_file())
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        Ok(names)
    }

    /// The name of the context in use, if one was chosen.
    pub fn current(&self) -> Outcome<Option<String>> {
        let name = read_if_there(&self.root.join("current"))?;
        Ok(name.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()))
    }

    /// Chooses the context in use.
    pub fn set_current(&self, name: &str) -> Outcome<()> {
        self.load(name)?;
        self.write(&self.root.join("current"), name)
    }

    /// The context asked for by name, or the one in use, or the only one. `local:DATA` needs none: it is the socket in
    /// that data folder.
    pub fn choose(&self, asked: Option<&str>) -> Outcome<(String, Context)> {
        if let Some(data) = asked.and_then(|asked| asked.strip_prefix("local:")) {
            return Ok((format!("local:{data}"), local(data)));
        }
        let names = self.names()?;
        let name = match (asked, self.current()?, names.as_slice()) {
            (Some(asked), _, _) => asked.to_owned(),
            (None, Some(current), _) => current,
            (None, None, [only]) => only.clone(),
            (None, None, []) => {
                return Err(Failure::new(codes::MISSING, "there is no context yet")
                    .because("a context says which domain to talk to")
                    .help("narrowsctl context add NAME --from /path/to/narrowsd/data/admin/context.toml"));
            }
            (None, None, several) => {
                return Err(Failure::usage("which domain is meant?")
                    .because(format!("there are {} contexts: {}", several.len(), several.join(", ")))
                    .help("narrowsctl --context NAME ..., or once: narrowsctl context use NAME"));
            }
        };
        let context = self.load(&name)?;
        Ok((name, context))
    }

    /// One context.
    pub fn load(&self, name: &str) -> Outcome<Context> {
        let path = self.folder(name)?.join("context.toml");
        if !path.is_file() {
            return Err(Failure::new(codes::MISSING, format!("there is no context `{name}`"))
                .at(path.display().to_string())
                .help("narrowsctl context list shows those that there are"));
        }
        read_context(&path)
    }

    /// Keeps a context; the first one becomes the one in use.
    pub fn add(&self, name: &str, context: &Context) -> Outcome<()> {
        let first = self.names()?.is_empty();
        self.write(&self.folder(name)?.join("context.toml"), &render(context)?)?;
        if first { self.write(&self.root.join("current"), name) } else { Ok(()) }
    }

    /// Keeps a client's certificate; it becomes the one to back up and restore as.
    pub fn add_client(&self, context: &str, client: &str, credentials: &Context) -> Outcome<()> {
        let folder = self.folder(context)?;
        let path = folder.join("clients").join(format!("{}.toml", plain(client)?));
        self.write(&path, &render(credentials)?)?;
        self.write(&folder.join("client"), client)
    }

    /// The certificate to act with: `CLIENT`, `CONTEXT/CLIENT`, or the one enrolled last in `context`.
    pub fn client(&self, context: &str, asked: Option<&str>) -> Outcome<Context> {
        read_context(&self.client_file(context, asked)?)
    }

    /// Where that is kept.
    pub fn client_file(&self, context: &str, asked: Option<&str>) -> Outcome<PathBuf> {
        let (context, named) = asked.map_or((context, None), |asked| match asked.split_once('/') {
            Some((context, client)) => (context, Some(client)),
            None => (context, Some(asked)),
        });
        let kept = read_if_there(&self.folder(context)?.join("client"))?.unwrap_or_default();
        let client = named.unwrap_or(kept.trim());
        if client.is_empty() {
            return Err(no_client(context));
        }
        let path = self.folder(context)?.join("clients").join(format!("{}.toml", plain(client)?));
        if !path.is_file() {
            return Err(no_client(context).at(path.display().to_string()));
        }
        Ok(path)
    }

    /// Puts what a renewal gave in the place of the client's certificate, and what is said of the domain's CAs in the
    /// place of what a context knows.
    pub fn keep_renewed(&self, client: &Path, renewed: &Context, context: &str) -> Outcome<()> {
        self.write(client, &render(renewed)?)?;
        let known = self.load(context)?;
        if known.domain != renewed.domain || known.ca_pem == renewed.ca_pem {
            return Ok(());
        }
        let known = Context { ca_pem: renewed.ca_pem.clone(), ..known };
        self.write(&self.folder(context)?.join("context.toml"), &render(&known)?)
    }

    /// Has renewals of a client's certificate to oneself until it is dropped; `None` while somebody else has.
    pub fn lock_renewal(client: &Path) -> Outcome<Option<fs::File>> {
        let path = client.with_extension("lock");
        let failed = |error: std::io::Error| Failure::file("a renewal cannot be locked", &path, &error);
        let mut options = fs::OpenOptions::new();
        let file =
            options.write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => keep_owner(&file, client).map(|()| Some(file)).map_err(failed),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    fn folder(&self, name: &str) -> Outcome<PathBuf> {
        Ok(self.root.join(plain(name)?))
    }

    fn write(&self, path: &Path, text: &str) -> Outcome<()> {
        let failed = |error: std::io::Error| Failure::file("a setting cannot be kept", path, &error);
        let folder = path.parent().unwrap_or(&self.root);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        let new = path.with_extension("new");
        let mut options = fs::OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o600).open(&new).map_err(failed)?;
        keep_owner(&file, path).map_err(failed)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::rename(&new, path).map_err(failed)?;
        // The name too: a one-time token may have been spent for what it holds.
        fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
    }
}

/// What a setting says; `None` if there is none.
fn read_if_there(path: &Path) -> Outcome<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::file("a setting cannot be read", path, &error)),
    }
}

/// Root's new file is whose the one is that it replaces or stands beside: it may have renewed what another user's agent goes on with.
fn keep_owner(new: &fs::File, old: &Path) -> std::io::Result<()> {
    let Ok(old) = fs::metadata(old) else { return Ok(()) };
    // Nobody else may give files away.
    if new.metadata()?.uid() == 0 && old.uid() != 0 {
        fchown(new, Some(old.uid()), Some(old.gid()))?;
    }
    Ok(())
}

/// The server on this machine, as root or as its own user.
fn local(data: &str) -> Context {
    Context {
        name: format!("local:{data}"),
        domain: String::new(),
        url: format!("{SOCKET}{}", Path::new(data).join("admin.sock").display()),
        ca_pem: String::new(),
        token: None,
        certificate_pem: None,
        key_pem: None,
    }
}

/// How the URL of a socket begins.
pub const SOCKET: &str = "unix:";

fn no_client(context: &str) -> Failure {
    Failure::new(codes::MISSING, format!("no client is enrolled in `{context}` on this machine"))
        .because("files are read and written as an enrolled client")
        .help(format!("narrowsctl --context {context} client enroll NAME"))
}

/// A name that is one plain component of a path.
pub fn plain(name: &str) -> Outcome<&str> {
    let good = !name.is_empty()
        && !name.starts_with('.')
        && name.len() <= 200
        && name.chars().all(|c| c.is_alphanumeric() || "-_.@".contains(c));
    if good {
        return Ok(name);
    }
    Err(Failure::usage(format!("`{name}` cannot be a name"))
        .because("names are letters, digits, and - _ . @, and do not begin with a dot"))
}

/// Reads a context file.
pub fn read_context(path: &Path) -> Outcome<Context> {
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::file("the context cannot be read", path, &error))?;
    toml::from_str(&text).map_err(|error| {
        Failure::new(codes::FILE, "this is no context file")
            .at(path.display().to_string())
            .because(error.message().to_owned())
    })
}

fn render(context: &Context) -> Outcome<String> {
    toml::to_string(context).map_err(|error| Failure::new(codes::BUG, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(name: &str) -> Context {
        Context {
            name: name.into(),
            domain: "00000000-0000-0000-0000-000000000001".into(),
            url: "https://127.0.0.1:7400".into(),
            ca_pem: String::new(),
            token: Some("secret".into()),
            certificate_pem: None,
            key_pem: None,
        }
    }

    #[test]
    fn the_first_context_is_the_one_in_use_until_another_is_chosen() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let contexts = Contexts::at(dir.path().join("narrows"));
        assert_eq!(contexts.choose(None).unwrap_err().0.code, codes::MISSING);
        contexts.add("east", &context("east")).unwrap();
        contexts.add("west", &context("west")).unwrap();
        assert_eq!(contexts.choose(None).unwrap().0, "east");
        assert_eq!(contexts.choose(Some("west")).unwrap().1, context("west"));
        contexts.set_current("west").unwrap();
        assert_eq!(contexts.choose(None).unwrap().0, "west");
        assert!(contexts.set_current("north").is_err());
        let mode = fs::metadata(dir.path().join("narrows/east/context.toml")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn clients_are_found_by_name_also_across_contexts() {
        let dir = tempfile::tempdir().unwrap();
        let contexts = Contexts::at(dir.path().to_path_buf());
        contexts.add("east", &context("east")).unwrap();
        contexts.add("west", &context("west")).unwrap();
        assert_eq!(contexts.client("east", None).unwrap_err().0.code, codes::MISSING);
        contexts.add_client("east", "web01", &context("web01")).unwrap();
        contexts.add_client("east", "web02", &context("web02")).unwrap();
        assert_eq!(contexts.client("east", None).unwrap().name, "web02");
        assert_eq!(contexts.client("west", Some("east/web01")).unwrap().name, "web01");
        assert!(contexts.client("west", Some("web01")).is_err());
    }

    #[test]
    fn a_local_server_needs_no_context() {
        let contexts = Contexts::at(PathBuf::from("/nonexistent"));
        let (name, context) = contexts.choose(Some("local:/srv/east")).unwrap();
        assert_eq!(name, "local:/srv/east");
        assert_eq!(context.url.strip_prefix(SOCKET), Some("/srv/east/admin.sock"));
        assert_eq!(contexts.client(&name, None).unwrap_err().0.code, codes::USAGE, "no files as root");
    }

    #[test]
    fn names_do_not_leave_the_folder() {
        let contexts = Contexts::at(PathBuf::from("/nonexistent"));
        for name in ["", "..", "a/b", ".hidden", "a\n"] {
            assert_eq!(contexts.load(name).unwrap_err().0.code, codes::USAGE, "{name:?}");
        }
    }
}
