//! Names of topics that are like one that does not exist.

/// The most names that are told.
const MOST: usize = 3;

/// Names that are like `topic`, the most alike first.
pub(super) fn to(topic: &str, names: &[String]) -> Vec<String> {
    let plain = |name: &str| name.to_lowercase().replace(['-', '_', '.'], "");
    let wanted = plain(topic);
    let mut alike: Vec<(usize, &String)> = names
        .iter()
        // The cluster's own.
        .filter(|name| !name.starts_with("__"))
        .filter_map(|name| {
            let name_plain = plain(name);
            let distance = strsim::damerau_levenshtein(&wanted, &name_plain);
            let begins = wanted.len() >= 4
                && (name_plain.starts_with(&wanted) || wanted.starts_with(&name_plain) && name_plain.len() >= 4);
            (distance <= 1 + wanted.len() / 6 && distance < wanted.len() || begins).then_some((distance, name))
        })
        .collect();
    alike.sort();
    alike.into_iter().take(MOST).map(|(_, name)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typos_and_other_spellings_are_alike() {
        let names: Vec<String> =
            ["orders", "orders.v2", "Customer_Events", "payments", "__consumer_offsets", "a", "t"].map(String::from).to_vec();
        assert_eq!(to("order", &names), ["orders", "orders.v2"]);
        assert_eq!(to("customer-events", &names), ["Customer_Events"]);
        assert_eq!(to("paymnets", &names), ["payments"]);
        assert_eq!(to("consumer_offsets", &names), Vec::<String>::new());
        assert_eq!(to("invoices", &names), Vec::<String>::new());
        assert_eq!(to("x", &names), Vec::<String>::new());
    }
}
