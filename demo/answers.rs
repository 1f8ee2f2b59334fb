//! Two answers to one question, side by side.

/// Prints both answers as one table, and tells whether they are the same. Each row is a label and an
/// amount of money.
#[must_use]
pub(crate) fn compare(question: &str, mysql: &[(String, String)], duckdb: &[Vec<String>]) -> bool {
    println!("   {question:24}{:>16}{:>16}", "MySQL", "DuckDB");
    let mut agree = mysql.len() == duckdb.len() && !mysql.is_empty();
    for (index, (label, ours)) in mysql.iter().enumerate() {
        let theirs = match duckdb.get(index).map(Vec::as_slice) {
            Some([their_label, amount]) if their_label == label => amount.as_str(),
            _ => "-",
        };
        agree &= ours == theirs;
        let verdict = if ours == theirs { "equal" } else { "DIFFERENT" };
        println!(
            "   {label:24}{:>16}{:>16}   {verdict}",
            with_commas(ours),
            with_commas(theirs)
        );
    }
    println!();
    agree
}

/// `1234567.80` as `1,234,567.80`.
fn with_commas(amount: &str) -> String {
    let (whole, cents) = amount.split_at(amount.find('.').unwrap_or(amount.len()));
    let mut text = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text + cents
}
