//! Reaching the daemon of the local store.

use std::{
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{net::UnixStream, process::Command};

use super::{
    connection::{Behind, Connection},
    ssh::SshError,
};
use crate::{
    config::{DaemonAccess, NixSettings},
    nix::{
        StoreDir,
        daemon::{BoxedClient, ClientError},
    },
};

/// How long a daemon may take to say hello.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(20);

/// A store whose daemon cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Nobody answers at the socket.
    #[error(
        "cannot reach the Nix daemon at {socket}: {source}. Start it (`systemctl start nix-daemon`, or `nix-daemon &` as root), or set nix.socket"
    )]
    Socket {
        /// The socket.
        socket: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The program could not be started.
    #[error("cannot start {program}: {source}. Install Nix, or name it with nix.program or CROFT_NIX")]
    Program {
        /// The program.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is no daemon and the store is not ours to write.
    #[error(
        "no Nix daemon answers at {socket}, and {state} is not writable here. Start the daemon, or run as the owner of the store"
    )]
    NoWay {
        /// The socket.
        socket: PathBuf,
        /// The store's own state directory.
        state: PathBuf,
    },
    /// It answered, but not as a daemon.
    #[error("greeting the Nix daemon through {through}: {source}")]
    Handshake {
        /// The socket or program.
        through: String,
        /// What went wrong.
        source: ClientError,
    },
    /// The machine cannot be reached.
    #[error(transparent)]
    Ssh(#[from] SshError),
    /// The machine was reached, but not its daemon.
    #[error("greeting the Nix daemon of {target} with `{command}`: {source}{}", said_besides(said.as_deref()))]
    Remote {
        /// The machine.
        target: String,
        /// The command that was run there.
        command: String,
        /// What went wrong.
        source: Box<ClientError>,
        /// The last words on standard error.
        said: Option<String>,
    },
    /// It did not answer in time.
    #[error("the Nix daemon behind {through} did not answer within {} s; restart it", HANDSHAKE.as_secs())]
    Silent {
        /// The socket or program.
        through: String,
    },
}

fn said_besides(said: Option<&str>) -> String {
    said.map(|said| format!(" (it says: {said})")).unwrap_or_default()
}

/// Where the store is and how its daemon is reached.
#[derive(Debug, Clone)]
pub struct StoreAccess {
    store_dir: StoreDir,
    settings: NixSettings,
    program: PathBuf,
    socket: PathBuf,
}

impl StoreAccess {
    /// The store that the settings name.
    pub fn new(settings: NixSettings) -> Self {
        let socket = settings.socket.clone();
        Self {
            store_dir: StoreDir::default(),
            program: daemon_program(&settings.program),
            socket: socket.unwrap_or_else(|| settings.physical("/nix/var/nix/daemon-socket/socket")),
            settings,
        }
    }

    /// The settings it was made from.
    pub fn settings(&self) -> &NixSettings {
        &self.settings
    }

    /// Opens a connection and greets the daemon.
    pub async fn dial(&self) -> Result<Connection, DialError> {
        match self.settings.daemon {
            DaemonAccess::Socket => self.dial_socket().await,
            DaemonAccess::Stdio => self.dial_stdio().await,
            DaemonAccess::Auto => match self.dial_socket().await {
                Ok(connection) => Ok(connection),
                Err(DialError::Socket { .. }) if self.is_ours() => self.dial_stdio().await,
                Err(DialError::Socket { socket, .. }) => {
                    Err(DialError::NoWay { socket, state: self.state_dir() })
                }
                Err(error) => Err(error),
            },
        }
    }

    fn state_dir(&self) -> PathBuf {
        self.settings.physical("/nix/var/nix")
    }

    /// Whether we may open the store without a daemon, as `nix` itself decides it.
    fn is_ours(&self) -> bool {
        let writable = |path: &Path| rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
        let state = self.state_dir();
        if state.exists() { writable(&state) } else { rustix::process::geteuid().is_root() }
    }

    async fn dial_socket(&self) -> Result<Connection, DialError> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|source| DialError::Socket { socket: self.socket.clone(), source })?;
        let (reader, writer) = stream.into_split();
        let through = self.socket.display().to_string();
        let client = self.greet(&through, Box::new(reader), Box::new(writer)).await?;
        Ok(Connection::new(client, Behind::Socket))
    }

    async fn dial_stdio(&self) -> Result<Connection, DialError> {
        let mut command = Command::new(&self.program);
        command.arg("--stdio").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        // Not a foreground process: Ctrl-C is ours to handle, the daemon ends when its input closes.
        command.process_group(0);
        if let Some(uri) = self.settings.store_uri() {
            command.arg("--store").arg(uri);
        }
        command.env_remove("NIX_REMOTE");
        let failed = |source| DialError::Program { program: self.program.clone(), source };
        let mut child = command.spawn().map_err(failed)?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(failed(io::Error::other("its input and output are not connected")));
        };
        let through = format!("{} --stdio", self.program.display());
        let client = self.greet(&through, Box::new(stdout), Box::new(stdin)).await?;
        Ok(Connection::new(client, Behind::Daemon(Some(child))))
    }

    async fn greet(
        &self,
        through: &str,
        reader: Box<dyn tokio::io::AsyncRead + Send + Unpin>,
        writer: Box<dyn tokio::io::AsyncWrite + Send + Unpin>,
    ) -> Result<BoxedClient, DialError> {
        let handshake = BoxedClient::connect(reader, writer, self.store_dir.clone());
        match tokio::time::timeout(HANDSHAKE, handshake).await {
            Ok(Ok(client)) => Ok(client),
            Ok(Err(source)) => Err(DialError::Handshake { through: through.to_owned(), source }),
            Err(_) => Err(DialError::Silent { through: through.to_owned() }),
        }
    }
}

/// The daemon that belongs to a `nix` program: its neighbour, or the one on PATH.
fn daemon_program(nix: &Path) -> PathBuf {
    let beside = nix.parent().filter(|dir| !dir.as_os_str().is_empty()).map(|dir| dir.join("nix-daemon"));
    beside.filter(|path| path.exists()).unwrap_or_else(|| PathBuf::from("nix-daemon"))
}
