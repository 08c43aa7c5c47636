//! Lists of values in a statement, cut into pieces that `SQLite` takes.

use sqlx::{QueryBuilder, Sqlite};

/// How many rows go into one statement. `SQLite` takes 32,766 parameters, and no row here has more than 24.
pub(super) const ROWS: usize = 1000;

/// `prefix (?, ?, …)` for texts.
pub(super) fn push_texts<T: ToString>(query: &mut QueryBuilder<Sqlite>, values: &[T]) {
    query.push("(");
    let mut list = query.separated(", ");
    for value in values {
        list.push_bind(value.to_string());
    }
    query.push(")");
}
