//! The statement that inserts a row or replaces it by its key, made from the columns' names.
//!
//! Not `INSERT OR REPLACE`: that would silently delete another row that has the same unique name.

/// `upsert!("table", [key columns], [other columns])`, with one `?` for each column in that order.
macro_rules! upsert {
    ($table:literal, [$key0:literal $(, $key:literal)*], [$column0:literal $(, $column:literal)*]) => {
        concat!(
            "INSERT INTO ", $table, " (", $key0, $(", ", $key,)* ", ", $column0, $(", ", $column,)* ") VALUES (?",
            $($crate::upsert::upsert!(@mark $key),)* ", ?", $($crate::upsert::upsert!(@mark $column),)*
            ") ON CONFLICT (", $key0, $(", ", $key,)* ") DO UPDATE SET ",
            $column0, " = excluded.", $column0, $(", ", $column, " = excluded.", $column),*
        )
    };
    (@mark $any:literal) => { ", ?" };
}
pub(crate) use upsert;
