//! The records themselves, read past croft's own code.

use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::support::Farm;

/// The rows of a query of a name and a number.
pub(crate) fn counts(farm: &Farm, query: &'static str) -> Vec<(String, i64)> {
    run(async {
        let mut conn = connect(farm).await;
        sqlx::query_as(query).fetch_all(&mut conn).await.unwrap()
    })
}

/// Keeps everybody from writing to the database while `body` runs.
pub(crate) fn while_locked(farm: &Farm, body: impl FnOnce()) {
    run(async {
        let mut conn = connect(farm).await;
        let lock = conn.begin_with("BEGIN IMMEDIATE").await.unwrap();
        body();
        lock.rollback().await.unwrap();
    });
}

async fn connect(farm: &Farm) -> SqliteConnection {
    let options = SqliteConnectOptions::new()
        .filename(farm.state().join("croft.db"))
        .busy_timeout(std::time::Duration::from_secs(30));
    SqliteConnection::connect_with(&options).await.unwrap()
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}
