//! The `fanfare` program.
fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let config = fanfare_shared::config::Config::default();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(fanfare_gateway::server::run(config, false, async {
            let _ = tokio::signal::ctrl_c().await;
        }))
}
