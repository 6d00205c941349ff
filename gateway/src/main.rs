//! The `fanfare` program.
fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let config = fanfare_shared::config::Config::load(&fanfare_shared::config::Sources {
        file: None,
        env: std::env::vars().collect(),
        flags: vec![],
    })?;
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(async {
            let (tx, rx) = tokio::sync::mpsc::channel(2);
            tokio::spawn(async move {
                loop {
                    let _ = tokio::signal::ctrl_c().await;
                    let _ = tx.send(()).await;
                }
            });
            fanfare_gateway::server::run(config, false, rx).await
        })
}
