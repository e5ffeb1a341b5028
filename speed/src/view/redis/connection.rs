//! The connection: one server, whichever of several is the master, or a cluster; made when it is needed, thrown away when
//! it fails.
//!
//! A server that evicts keys is refused: an absent cell would be taken for nothing received.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, ErrorKind, IntoConnectionInfo as _, Pipeline, RedisError,
    RedisFuture, ServerErrorKind, Value,
};
use tokio::sync::{Mutex, Semaphore};

use super::RedisConfig;
use crate::view::ViewError;

const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// A shorter one gives up on scripts that a busy server still runs, and folds them again and again.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Questions on their way to a cluster at once, fewer than the client's queue to each of its nodes holds (50). When a
/// node is lost, the client asks another where the slots are and lets nothing else go on meanwhile: questions that wait
/// for a place in a full queue are before that one, and nobody moves until [`ANSWER_WITHIN`] is over.
const ASKED_AT_ONCE: usize = 48;

/// Makes connections and keeps the last one.
pub(super) struct Server {
    /// What the user called it, without secrets.
    name: String,
    cluster: bool,
    nodes: Vec<ConnectionInfo>,
    current: Mutex<Option<Connection>>,
}

#[derive(Clone)]
pub(super) enum Connection {
    Alone(MultiplexedConnection),
    Cluster(ClusterConnection, Arc<Semaphore>),
}

impl Server {
    /// # Errors
    /// [`ViewError::Unusable`] where the address is none.
    pub(super) fn new(config: &RedisConfig) -> Result<Self, ViewError> {
        let wrong = |why: &str| {
            ViewError::Unusable(format!(
                "redis.url `{}` {why}; write redis://host:port/db, redis://host,host for a master among several, or redis-cluster://host,host",
                config.shown()
            ))
        };
        let (scheme, rest) = config.url.split_once("://").ok_or_else(|| wrong("has no scheme"))?;
        let (cluster, scheme) = match scheme {
            "redis" | "rediss" => (false, scheme),
            "redis-cluster" => (true, "redis"),
            "rediss-cluster" => (true, "rediss"),
            _ => return Err(wrong("has an unknown scheme")),
        };
        let (hosts, path) = rest.split_once('/').map_or((rest, String::new()), |(hosts, db)| (hosts, format!("/{db}")));
        let node = |host: &str| {
            let info = format!("{scheme}://{host}{path}").into_connection_info().map_err(|_| wrong("is no address"))?;
            let mut settings = info.redis_settings().clone();
            if let Some(user) = &config.user {
                settings = settings.set_username(user);
            }
            if let Some(password) = &config.password {
                settings = settings.set_password(password);
            }
            Ok(info.set_redis_settings(settings))
        };
        if scheme == "rediss" {
            // The client asks the process for its cryptography, and a program with two kinds of it has to say which. What
            // the program has chosen stays.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let nodes = hosts.split(',').map(node).collect::<Result<_, ViewError>>()?;
        Ok(Self { name: config.shown(), cluster, nodes, current: Mutex::new(None) })
    }

    /// The same server by a connection of its own.
    pub(super) fn apart(&self) -> Self {
        let (name, nodes) = (self.name.clone(), self.nodes.clone());
        Self { name, cluster: self.cluster, nodes, current: Mutex::new(None) }
    }

    /// The connection there is, or a new one.
    pub(super) async fn connection(&self) -> Result<Connection, ViewError> {
        let mut current = self.current.lock().await;
        if let Some(connection) = &*current {
            return Ok(connection.clone());
        }
        let mut connection = if self.cluster { self.connect_cluster().await } else { self.connect_master().await }?;
        self.refuse_eviction(&mut connection).await?;
        *current = Some(connection.clone());
        Ok(connection)
    }

    /// Tells what an error means, and throws the connection away: the next one is new.
    pub(super) async fn failed(&self, error: &RedisError) -> ViewError {
        *self.current.lock().await = None;
        self.judge(error)
    }

    fn judge(&self, error: &RedisError) -> ViewError {
        let text = format!("redis at {}: {error}", self.name);
        let refused =
            matches!(error.kind(), ErrorKind::AuthenticationFailed | ErrorKind::Server(ServerErrorKind::NoPerm))
                || matches!(error.code(), Some("WRONGPASS" | "NOAUTH"));
        if refused {
            return ViewError::Unusable(format!("{text}; check redis.user and redis.password"));
        }
        ViewError::Unavailable(text)
    }

    async fn connect_cluster(&self) -> Result<Connection, ViewError> {
        let client = ClusterClient::builder(self.nodes.clone())
            .connection_timeout(CONNECT_WITHIN)
            .response_timeout(ANSWER_WITHIN)
            .retries(3)
            .build()
            .map_err(|error| self.judge(&error))?;
        let connection = client.get_async_connection().await.map_err(|error| self.judge(&error))?;
        Ok(Connection::Cluster(connection, Arc::new(Semaphore::new(ASKED_AT_ONCE))))
    }

    /// The first node that says it is a master.
    async fn connect_master(&self) -> Result<Connection, ViewError> {
        let mut why = ViewError::Unavailable(format!("redis at {}: none of its nodes is a master", self.name));
        for node in &self.nodes {
            match connect_to(node).await {
                Ok(Some(connection)) => return Ok(Connection::Alone(connection)),
                Ok(None) => {}
                Err(error) => why = self.judge(&error),
            }
        }
        Err(why)
    }

    async fn refuse_eviction(&self, connection: &mut Connection) -> Result<(), ViewError> {
        let about: Value =
            redis::cmd("INFO").arg("memory").query_async(connection).await.map_err(|error| self.judge(&error))?;
        let mut texts = Vec::new();
        collect_texts(&about, &mut texts);
        let policies =
            texts.iter().flat_map(|text| text.lines()).filter_map(|line| line.strip_prefix("maxmemory_policy:"));
        match policies.map(str::trim).find(|policy| *policy != "noeviction") {
            None => Ok(()),
            Some(policy) => Err(ViewError::Unusable(format!(
                "redis at {} has maxmemory-policy {policy}: it would drop counts unnoticed; set noeviction",
                self.name
            ))),
        }
    }
}

async fn connect_to(node: &ConnectionInfo) -> Result<Option<MultiplexedConnection>, RedisError> {
    let settings = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_WITHIN))
        .set_response_timeout(Some(ANSWER_WITHIN));
    let client = Client::open(node.clone())?;
    let mut connection = client.get_multiplexed_async_connection_with_config(&settings).await?;
    let role: Vec<Value> = redis::cmd("ROLE").query_async(&mut connection).await?;
    let mut texts = Vec::new();
    role.first().into_iter().for_each(|value| collect_texts(value, &mut texts));
    Ok((texts == ["master"]).then_some(connection))
}

/// Every text within an answer: a cluster answers by node.
fn collect_texts(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::BulkString(bytes) => into.push(String::from_utf8_lossy(bytes).into_owned()),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => into.push(text.clone()),
        Value::Array(values) => values.iter().for_each(|value| collect_texts(value, into)),
        Value::Map(pairs) => pairs.iter().for_each(|(_, value)| collect_texts(value, into)),
        _ => {}
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Alone(connection) => connection.req_packed_command(cmd),
            Self::Cluster(connection, places) => Box::pin(async move {
                let _place = places.acquire().await.expect("it is never closed");
                connection.req_packed_command(cmd).await
            }),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Alone(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection, places) => Box::pin(async move {
                let _place = places.acquire().await.expect("it is never closed");
                connection.req_packed_commands(pipeline, offset, count).await
            }),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Alone(connection) => connection.get_db(),
            Self::Cluster(connection, _) => connection.get_db(),
        }
    }
}
