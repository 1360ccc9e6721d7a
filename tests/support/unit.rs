//! What the service's unit says, so that what is tested and measured runs as the service does.

/// The variables of `systemd/fcdd.service` that this process lacks; whoever sets one for a measurement means it.
pub fn environment() -> impl Iterator<Item = (&'static str, &'static str)> {
    include_str!("../../systemd/fcdd.service")
        .lines()
        .filter_map(|line| line.strip_prefix("Environment=")?.split_once('='))
        .filter(|(name, _)| std::env::var_os(name).is_none())
}
