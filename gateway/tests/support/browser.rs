//! A real browser for tests: headless Chromium, spoken to over the DevTools protocol.
//!
//! One [`Browser`] per test, as many [`Tab`]s as it needs; each tab has a storage of its own, like a
//! visitor of its own. Every step has the deadline [`PATIENCE`]. Dropping the browser kills every
//! process of it, waits for them and removes the profile.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use devtools::DevTools;

#[path = "devtools.rs"]
mod devtools;

/// How long a step may take before the test fails; a start of Chromium on a busy machine fits.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A running Chromium without a window.
pub(crate) struct Browser {
    devtools: Arc<DevTools>,
    process: Child,
    /// Reads standard error to its end, which comes when the last process of the browser is gone.
    stderr: Option<JoinHandle<()>>,
    // Dropped last: the profile is removed when nobody writes to it any more.
    _profile: TempDir,
}

impl Browser {
    /// Starts Chromium: the program named by `FANFARE_CHROMIUM`, or the first of the usual names
    /// in `PATH`.
    pub(crate) async fn start() -> Result<Self> {
        let program = find_chromium()?;
        let profile = TempDir::with_prefix("fanfare-browser-")?;
        let mut process = Command::new(&program)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
            ])
            .args([
                "--no-first-run",
                "--disable-background-networking",
                "--disable-sync",
            ])
            .args([
                "--disable-component-update",
                "--disable-quic",
                "--remote-debugging-port=0",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .with_context(|| format!("{} does not start", program.display()))?;
        let (found, address) = oneshot::channel();
        let stderr = process.stderr.take().context("standard error is piped")?;
        let stderr = std::thread::spawn(move || {
            let mut found = Some(found);
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if let Some(url) = line.strip_prefix("DevTools listening on ws://")
                    && let Some(found) = found.take()
                {
                    let _ = found.send(url.to_owned());
                }
            }
        });
        // From here on a failure drops the browser, which ends the process.
        let mut browser = Self {
            devtools: Arc::new(DevTools::closed()),
            process,
            stderr: Some(stderr),
            _profile: profile,
        };
        let address = timeout(PATIENCE, address)
            .await
            .with_context(|| format!("{} opens no DevTools port", program.display()))?
            .with_context(|| format!("{} exits at once", program.display()))?;
        browser.devtools = Arc::new(DevTools::connect(&address).await?);
        Ok(browser)
    }

    /// Opens `url` in a tab that shares nothing with the others, and waits until it is loaded.
    pub(crate) async fn open(&self, url: &str) -> Result<Tab> {
        let devtools = Arc::clone(&self.devtools);
        let context = devtools
            .call(None, "Target.createBrowserContext", json!({}))
            .await?;
        let target = json!({
            "url": "about:blank",
            "browserContextId": context["browserContextId"],
        });
        let target = devtools.call(None, "Target.createTarget", target).await?;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = devtools.call(None, "Target.attachToTarget", attach).await?;
        let session = attached["sessionId"]
            .as_str()
            .context("a session")?
            .to_owned();
        let tab = Tab { devtools, session };
        // As if it were in front: a hidden tab's timers are throttled.
        tab.call(
            "Emulation.setFocusEmulationEnabled",
            json!({ "enabled": true }),
        )
        .await?;
        tab.navigate(url).await?;
        Ok(tab)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if let Ok(group) = i32::try_from(self.process.id())
            && let Some(group) = rustix::process::Pid::from_raw(group)
        {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.process.wait();
        if let Some(stderr) = self.stderr.take() {
            let _ = stderr.join();
        }
    }
}

/// A tab and the page in it.
pub(crate) struct Tab {
    devtools: Arc<DevTools>,
    session: String,
}

impl Tab {
    /// Goes to `url` and waits until it is loaded.
    pub(crate) async fn navigate(&self, url: &str) -> Result<()> {
        let answer = self.call("Page.navigate", json!({ "url": url })).await?;
        if let Some(error) = answer["errorText"].as_str() {
            bail!("{url}: {error}");
        }
        self.until("document.readyState === 'complete'").await
    }

    /// Evaluates a JavaScript expression, awaiting it if it is a promise. `undefined` is null.
    pub(crate) async fn evaluate<T: DeserializeOwned>(&self, expression: &str) -> Result<T> {
        let how = json!({
            "expression": expression,
            "awaitPromise": true,
            "returnByValue": true,
            "userGesture": true,
        });
        let answer = self.call("Runtime.evaluate", how).await?;
        if let Some(thrown) = answer.get("exceptionDetails") {
            let text = thrown["exception"]["description"].as_str();
            bail!(
                "{expression}: {}",
                text.or(thrown["text"].as_str()).unwrap_or("throws")
            );
        }
        let value = answer["result"]
            .get("value")
            .cloned()
            .unwrap_or(Value::Null);
        serde_json::from_value(value).with_context(|| format!("the value of {expression}"))
    }

    /// Waits until a JavaScript expression is true: the page itself looks at every change of the
    /// document, and every 50 ms for what is not in it. An expression that throws is not true yet.
    pub(crate) async fn until(&self, expression: &str) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        let mut outcome = Ok(false);
        while Instant::now() < end {
            let left = end.duration_since(Instant::now()).as_millis();
            let watch = format!(
                "new Promise((resolve) => {{
                    const finish = (outcome) => {{
                        observer.disconnect();
                        clearInterval(timer);
                        resolve(outcome);
                    }};
                    const check = () => {{
                        try {{ if (!({expression})) return; }} catch {{ return; }}
                        finish(true);
                    }};
                    const observer = new MutationObserver(check);
                    observer.observe(document, {{
                        subtree: true, childList: true, attributes: true, characterData: true,
                    }});
                    const timer = setInterval(check, 50);
                    setTimeout(() => finish(false), {left});
                    check();
                }})"
            );
            outcome = self.evaluate::<bool>(&watch).await;
            match &outcome {
                // The page was replaced meanwhile: its successor is watched.
                Err(error) if format!("{error:#}").contains("navigat") => {}
                _ => break,
            }
        }
        if outcome.with_context(|| format!("waiting for {expression}"))? {
            return Ok(());
        }
        let shown: String = self.evaluate("document.body.innerText").await?;
        bail!("never true within {PATIENCE:?}: {expression}\nthe page shows:\n{shown}");
    }

    /// Types over what is in a field.
    pub(crate) async fn fill(&self, selector: &str, text: &str) -> Result<()> {
        let (selector, text) = (json!(selector), json!(text));
        self.evaluate(&format!(
            "{{ const field = document.querySelector({selector});
                field.focus();
                field.value = {text};
                field.dispatchEvent(new Event('input', {{ bubbles: true }})); null }}"
        ))
        .await
    }

    /// Clicks an element.
    pub(crate) async fn click(&self, selector: &str) -> Result<()> {
        self.evaluate(&format!(
            "document.querySelector({}).click()",
            json!(selector)
        ))
        .await
    }

    async fn call(&self, method: &str, params: Value) -> Result<Value> {
        self.devtools
            .call(Some(&self.session), method, params)
            .await
    }
}

fn find_chromium() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("FANFARE_CHROMIUM") {
        let named = PathBuf::from(named);
        if !named.is_file() {
            bail!(
                "FANFARE_CHROMIUM names {}, which is no file",
                named.display()
            );
        }
        return Ok(named);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    ["chromium", "chromium-browser", "google-chrome"]
        .iter()
        .flat_map(|name| std::env::split_paths(&path).map(move |folder| folder.join(name)))
        .find(|program| program.is_file())
        .context(
            "no Chromium in PATH: `make tools` or `apt-get install chromium` brings it, \
             or FANFARE_CHROMIUM names one",
        )
}
