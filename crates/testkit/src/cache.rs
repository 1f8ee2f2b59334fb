//! What `servers/fetch` fetches: what the servers are made of, and a browser. Of servers there is in its folder one initialised data
//! directory for each kind of server, which instances are copied from.
//!
//! What does not live here: running servers (`servers.rs`) and the download itself (`servers/fetch`).

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::{env, io, path};

use anyhow::{Context, Result, bail, ensure};

use super::watcher::Watcher;

/// The project's folder: two above this crate's own.
#[must_use]
pub fn project() -> &'static Path {
    let mut folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    folders.nth(2).unwrap_or(Path::new("/"))
}

/// Where what tests run against is kept between runs, with a folder for each.
pub(super) fn servers_dir() -> Result<PathBuf> {
    match env::var_os("HYDRANT_SERVERS_DIR") {
        Some(dir) => path::absolute(dir).context("HYDRANT_SERVERS_DIR is not a usable path"),
        None => Ok(project().join("target").join("servers")),
    }
}

/// The makes of server that tests run against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// MySQL 9, the server `hydrant` is for.
    Mysql,
    /// MariaDB 10.11, with its own GTIDs and row event versions.
    Mariadb,
    /// MariaDB 11.8, with VECTOR, timestamps up to 2106 and collations of its own by default.
    Mariadb11,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Mysql, Self::Mariadb, Self::Mariadb11];

    /// Its folder in the cache, and what `servers/fetch` calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Mysql => "mysql",
            Kind::Mariadb => "mariadb",
            Kind::Mariadb11 => "mariadb11",
        }
    }

    /// The server program, in the `bin` folder of its cache.
    pub(super) fn server_program(self) -> &'static str {
        match self {
            Kind::Mysql => "mysqld",
            Kind::Mariadb | Kind::Mariadb11 => "mariadbd",
        }
    }

    /// The command-line client, in the same folder.
    pub(super) fn client_program(self) -> &'static str {
        match self {
            Kind::Mysql => "mysql",
            Kind::Mariadb | Kind::Mariadb11 => "mariadb",
        }
    }
}

/// Fetches what `servers/fetch` calls so, unless it is there, and gives its folder. Progress goes to
/// standard error.
///
/// # Errors
/// When it cannot be fetched, or could not be before: a run of many tests does not wait for it in each of them.
/// `servers/fetch` has then said why, and what can be done.
pub fn fetched(name: &str) -> Result<PathBuf> {
    // One at a time, so that a first run of many tests shows one download and one wait.
    static FETCHING: Mutex<()> = Mutex::new(());
    let _guard = FETCHING.lock().unwrap_or_else(PoisonError::into_inner);

    let servers = servers_dir()?;
    // It takes milliseconds when there is nothing to do, and it alone knows what is complete.
    let script = project().join("servers").join("fetch");
    let status = Command::new(&script)
        .args(["--for-test", name])
        .env("HYDRANT_SERVERS_DIR", &servers)
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot run {}", script.display()))?;
    ensure!(
        status.success(),
        "servers/fetch {name} failed ({status}); what it said on standard error names the remedy",
    );
    Ok(servers.join(name))
}

/// One kind of server, fetched and ready to be run.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    kind: Kind,
    dir: PathBuf,
}

/// MySQL only knows root@localhost at first, which with `skip_name_resolve` is the socket alone.
/// MariaDB creates this user by itself.
const MYSQL_USERS: &str = "CREATE USER root@'127.0.0.1' IDENTIFIED BY '';
GRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;
";

/// Small files: every instance starts with a copy of them. Without a binlog, so that instances begin with
/// an empty GTID set.
const MYSQL_INITIALIZE: &[&str] = &[
    "--initialize-insecure",
    "--innodb-redo-log-capacity=8M",
    "--innodb-doublewrite=OFF",
    "--performance-schema=OFF",
    "--skip-log-bin",
];
const MARIADB_INITIALIZE: &[&str] = &[
    "--bootstrap",
    "--innodb-log-file-size=4M",
    "--innodb-buffer-pool-size=64M",
    "--skip-log-bin",
];

impl Cache {
    /// Finds the programs of `kind`.
    ///
    /// # Errors
    /// As for [`fetched`].
    pub(super) fn of(kind: Kind) -> Result<Self> {
        let dir = fetched(kind.name())?;
        Ok(Self { kind, dir })
    }

    /// The path of one of the fetched programs.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.dir.join("bin").join(name)
    }

    /// Copies the initialised data directory to `target`, which must not exist. The first caller ever
    /// initialises it, which takes a few seconds.
    pub(super) fn copy_data_dir(&self, target: &Path) -> Result<()> {
        let template = self.template()?;
        copy_dir(&template, target)
            .with_context(|| format!("cannot copy {} to {}", template.display(), target.display()))
    }

    fn template(&self) -> Result<PathBuf> {
        let template = self.dir.join(TEMPLATE);
        if template.exists() {
            return Ok(template);
        }
        let lock_path = self.dir.join("template.lock");
        let lock = File::create(&lock_path)
            .with_context(|| format!("cannot create {}", lock_path.display()))?;
        lock.lock()
            .with_context(|| format!("cannot lock {}", lock_path.display()))?;
        if template.exists() {
            return Ok(template);
        }
        eprintln!(
            "initialising a {} data directory, once: this takes a few seconds",
            self.kind.name()
        );
        // Beside its final place, so that it can be renamed into it.
        let making = tempfile::Builder::new()
            .prefix("making-")
            .tempdir_in(&self.dir)?;
        let watcher = Watcher::new(making.keep())?;
        let data_dir = watcher.dir().join("data");
        fs::create_dir(&data_dir)?;
        self.initialize(&watcher, &data_dir)?;
        // It names the server_uuid, of which every instance needs its own.
        match fs::remove_file(data_dir.join("auto.cnf")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        fs::rename(&data_dir, &template)?;
        Ok(template)
    }

    fn initialize(&self, watcher: &Watcher, data_dir: &Path) -> Result<()> {
        let log_path = watcher.dir().join("log");
        let log = File::create(&log_path)?;
        let mut command = watcher.launch(&self.program(self.kind.server_program()));
        command.arg(option("--datadir=", data_dir));
        command.arg(option("--tmpdir=", watcher.dir()));
        match self.kind {
            Kind::Mysql => {
                let users = watcher.dir().join("users.sql");
                fs::write(&users, MYSQL_USERS)?;
                command
                    .args(MYSQL_INITIALIZE)
                    .arg(format!("--init-file={}", users.display()));
                command.stdin(Stdio::null());
            }
            Kind::Mariadb | Kind::Mariadb11 => {
                command
                    .args(MARIADB_INITIALIZE)
                    .stdin(File::open(self.dir.join("bootstrap.sql"))?);
            }
        }
        let status = command.stdout(log.try_clone()?).stderr(log).status()?;
        watcher.forget_launched();
        if !status.success() {
            let log = fs::read_to_string(&log_path).unwrap_or_default();
            bail!(
                "cannot initialise a {} data directory ({status}):\n{log}",
                self.kind.name()
            );
        }
        Ok(())
    }
}

/// Its folder in the cache. Raise the number after any change to what is in it.
const TEMPLATE: &str = "template-1";

fn copy_dir(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// An option of a server that names a path.
pub(super) fn option(name: &str, path: &Path) -> OsString {
    let mut option = OsString::from(name);
    option.push(path);
    option
}
