//! PURE. Numbers as people read them.

/// A count: `49,980`; under ten with its tenths, under one with two digits.
#[must_use]
pub fn count(number: f64) -> String {
    if number != 0.0 && number.abs() < 10.0 && number.fract().abs() > 1e-9 {
        let digits = (1.0 - number.abs().log10().floor()).clamp(1.0, 6.0) as usize;
        return format!("{number:.digits$}");
    }
    let digits = format!("{number:.0}");
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", digits.as_str()),
    };
    let mut text = String::from(sign);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Milliseconds, as seconds from one on: `8.1 ms`, `512 ms`, `1.25 s`.
#[must_use]
pub fn ms(ms: f64) -> String {
    match ms {
        ms if ms < 10.0 => format!("{ms:.1} ms"),
        ms if ms < 1_000.0 => format!("{ms:.0} ms"),
        ms => format!("{:.2} s", ms / 1e3),
    }
}

/// A share from 0 to 1 as per cent.
#[must_use]
pub fn percent(share: f64) -> String {
    match share * 100.0 {
        0.0 => "0 %".to_owned(),
        percent if percent < 0.01 => "under 0.01 %".to_owned(),
        percent if percent < 1.0 => format!("{percent:.2} %"),
        percent if percent < 10.0 => format!("{percent:.1} %"),
        percent => format!("{percent:.0} %"),
    }
}

/// Dollars, with cents under a thousand.
#[must_use]
pub fn usd(usd: f64) -> String {
    if usd >= 1_000.0 {
        format!("${}", count(usd))
    } else if usd > 0.0 && usd < 0.01 {
        "under $0.01".to_owned()
    } else {
        format!("${usd:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            [
                0.0,
                0.025,
                0.5,
                7.25,
                999.6,
                49_980.2,
                1_234_567.0,
                -1_000.0
            ]
            .map(count),
            [
                "0",
                "0.025",
                "0.50",
                "7.2",
                "1,000",
                "49,980",
                "1,234,567",
                "-1,000"
            ]
        );
        assert_eq!(
            [0.04, 8.13, 512.4, 1_250.0].map(ms),
            ["0.0 ms", "8.1 ms", "512 ms", "1.25 s"]
        );
        assert_eq!(
            [0.0, 0.000_01, 0.001, 0.051, 0.975].map(percent),
            ["0 %", "under 0.01 %", "0.10 %", "5.1 %", "98 %"]
        );
        assert_eq!(
            [0.0, 0.001, 8.4, 12_345.6].map(usd),
            ["$0.00", "under $0.01", "$8.40", "$12,346"]
        );
    }
}
