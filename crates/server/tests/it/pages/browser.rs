//! A headless Chromium, driven through ChromeDriver (both Debian's).
//!
//! fantoccini rather than thirtyfour: it needs nothing but hyper, which we have, where thirtyfour brings a second HTTP client;
//! and it has WebDriver's pointer actions, which is all that drawing takes.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fantoccini::actions::{InputSource as _, MOUSE_BUTTON_LEFT, PointerAction, TouchActions};
use fantoccini::elements::Element;
use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::PATIENCE;

/// What the browser looks like to the page.
pub(crate) struct Screen {
    width: u32,
    height: u32,
    touch: bool,
    language: &'static str,
}

/// A large phone.
pub(crate) const PHONE: Screen = Screen {
    width: 390,
    height: 844,
    touch: true,
    language: "zh-CN",
};

/// A small one, in English.
pub(crate) const SMALL_PHONE: Screen = Screen {
    width: 360,
    height: 640,
    touch: true,
    language: "en-GB",
};

/// A desk.
pub(crate) const DESK: Screen = Screen {
    width: 1280,
    height: 860,
    touch: false,
    language: "zh-CN",
};

pub(crate) struct Browser {
    driver: Child,
    client: Client,
    /// Chromium's profile; removed after the browser has ended.
    _profile: TempDir,
}

impl Browser {
    pub(crate) async fn start(screen: Screen) -> Self {
        let (driver, port) = start_driver();
        let profile = tempfile::tempdir().unwrap();
        let mut options = json!({
            "binary": "/usr/bin/chromium",
            "args": [
                "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
                "--disable-background-networking", "--disable-component-update", "--disable-sync",
                format!("--window-size={},{}", screen.width, screen.height),
                format!("--user-data-dir={}", profile.path().display()),
            ],
            "prefs": { "intl.accept_languages": screen.language },
        });
        if screen.touch {
            options["mobileEmulation"] = json!({
                "deviceMetrics": { "width": screen.width, "height": screen.height, "pixelRatio": 2.0, "touch": true, "mobile": true },
            });
        }
        let capabilities =
            json!({ "goog:chromeOptions": options, "goog:loggingPrefs": { "browser": "ALL" } });
        let Value::Object(capabilities) = capabilities else {
            unreachable!()
        };
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .unwrap();
        Self {
            driver,
            client,
            _profile: profile,
        }
    }

    pub(crate) async fn open(&self, url: &str) {
        self.client.goto(url).await.unwrap();
    }

    pub(crate) async fn reload(&self) {
        self.client.refresh().await.unwrap();
    }

    /// The element once it is there and can be seen.
    pub(crate) async fn see(&self, css: &str) -> Element {
        let begun = Instant::now();
        loop {
            if let Ok(element) = self.client.find(Locator::Css(css)).await
                && element.is_displayed().await.unwrap_or(false)
            {
                return element;
            }
            if begun.elapsed() > PATIENCE {
                let text = self.text("body").await;
                panic!("{css} is not to be seen after {PATIENCE:?}; the page says: {text}");
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    pub(crate) async fn sees(&self, css: &str) -> bool {
        match self.client.find(Locator::Css(css)).await {
            Ok(element) => element.is_displayed().await.unwrap_or(false),
            Err(_) => false,
        }
    }

    /// Clicks in the middle of what can be seen, as a finger would: something that covers it makes this fail.
    pub(crate) async fn click(&self, css: &str) {
        let element = self.see(css).await;
        self.run(
            "arguments[0].scrollIntoView({ block: 'center', behavior: 'instant' });",
            vec![serde_json::to_value(&element).unwrap()],
        )
        .await;
        element.click().await.unwrap();
    }

    pub(crate) async fn type_into(&self, css: &str, text: &str) {
        let element = self.see(css).await;
        element.clear().await.unwrap();
        element.send_keys(text).await.unwrap();
    }

    /// Chooses a file, as its owner would in the system's dialogue.
    pub(crate) async fn choose_file(&self, css: &str, path: &std::path::Path) {
        let element = self.see(css).await;
        element.send_keys(path.to_str().unwrap()).await.unwrap();
    }

    /// Presses keys wherever the focus is.
    pub(crate) async fn press(&self, keys: &str) {
        self.client
            .active_element()
            .await
            .unwrap()
            .send_keys(keys)
            .await
            .unwrap();
    }

    /// What is shown as text.
    pub(crate) async fn text(&self, css: &str) -> String {
        match self.client.find(Locator::Css(css)).await {
            Ok(element) => element.text().await.unwrap_or_default(),
            Err(error) => format!("({css}: {error})"),
        }
    }

    /// What is shown as text, once `part` is in it.
    pub(crate) async fn reads(&self, css: &str, part: &str) -> String {
        let begun = Instant::now();
        loop {
            let text = self.text(css).await;
            if text.contains(part) {
                return text;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "{part} is not to be read: {text}"
            );
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    /// Waits until an element that is only listened to says this.
    pub(crate) async fn says(&self, css: &str, words: &str) {
        let begun = Instant::now();
        let script = "return document.querySelector(arguments[0]).textContent;";
        while self.run(script, vec![css.into()]).await != words {
            assert!(begun.elapsed() < PATIENCE, "{css} does not say {words}");
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    pub(crate) async fn attribute(&self, css: &str, name: &str) -> Option<String> {
        self.see(css).await.attr(name).await.unwrap()
    }

    pub(crate) async fn run(&self, script: &str, arguments: Vec<Value>) -> Value {
        self.client.execute(script, arguments).await.unwrap()
    }

    pub(crate) async fn run_async(&self, script: &str, arguments: Vec<Value>) -> Value {
        self.client.execute_async(script, arguments).await.unwrap()
    }

    /// Draws on the pad with a finger: some strokes, in fractions of the pad as its reader sees it.
    pub(crate) async fn draw(&self) {
        self.see("#pad-canvas").await;
        // WebDriver's own rectangle counts from the document's corner, its actions from the window's.
        let script = "const box = document.querySelector('#pad-canvas').getBoundingClientRect(); \
                      return [box.x, box.y, box.width, box.height];";
        let corners = self.run(script, vec![]).await;
        let [x, y, width, height] = [0, 1, 2, 3].map(|i| corners[i].as_f64().unwrap());
        // On a phone held upright the pad lies on its side; see `.pad` in sign.css.
        let upright = height > width;
        let at = |(u, v): (f64, f64)| {
            let (u, v) = if upright { (1.0 - v, u) } else { (u, v) };
            ((x + u * width).round(), (y + v * height).round())
        };
        let strokes: [&[(f64, f64)]; 4] = [
            &[
                (0.18, 0.30),
                (0.30, 0.27),
                (0.38, 0.30),
                (0.34, 0.42),
                (0.24, 0.52),
            ],
            &[(0.30, 0.18), (0.29, 0.50), (0.27, 0.76), (0.23, 0.70)],
            &[(0.45, 0.36), (0.56, 0.31), (0.68, 0.33)],
            &[
                (0.57, 0.20),
                (0.56, 0.52),
                (0.48, 0.80),
                (0.60, 0.60),
                (0.78, 0.78),
            ],
        ];
        for stroke in strokes {
            let mut finger = TouchActions::new("finger".to_owned());
            for (place, point) in stroke.iter().enumerate() {
                let (x, y) = at(*point);
                let duration = Some(Duration::from_millis(if place == 0 { 0 } else { 40 }));
                finger = finger.then(PointerAction::MoveTo { duration, x, y });
                if place == 0 {
                    finger = finger.then(PointerAction::Down {
                        button: MOUSE_BUTTON_LEFT,
                    });
                }
            }
            finger = finger.then(PointerAction::Up {
                button: MOUSE_BUTTON_LEFT,
            });
            self.client.perform_actions(finger).await.unwrap();
        }
    }

    /// Two fingers on an element, moving apart.
    pub(crate) async fn spread(&self, css: &str) {
        self.two_fingers(css, 30.0, 110.0).await;
    }

    /// Two fingers on an element, moving together.
    pub(crate) async fn pinch(&self, css: &str) {
        self.two_fingers(css, 110.0, 30.0).await;
    }

    /// Two fingers, each so far from the element's middle at first, and at last.
    async fn two_fingers(&self, css: &str, from: f64, to: f64) {
        let script = "const box = document.querySelector(arguments[0]).getBoundingClientRect(); \
                      return [box.x + box.width / 2, box.y + box.height / 2];";
        let middle = self.run(script, vec![css.into()]).await;
        let [x, y] = [0, 1].map(|i| middle[i].as_f64().unwrap());
        let finger = |name: &str, side: f64| {
            let at = |distance: f64, duration| PointerAction::MoveTo {
                duration: Some(Duration::from_millis(duration)),
                x: x + side * distance,
                y,
            };
            let button = MOUSE_BUTTON_LEFT;
            let steps = (1..=4).map(|step| at(from + (to - from) * f64::from(step) / 4.0, 40));
            let touch = TouchActions::new(name.to_owned())
                .then(at(from, 0))
                .then(PointerAction::Down { button });
            steps
                .fold(touch, |touch, step| touch.then(step))
                .then(PointerAction::Up { button })
        };
        let both = vec![finger("thumb", -1.0), finger("finger", 1.0)];
        self.client.perform_actions(both).await.unwrap();
    }

    /// Keeps a picture of the screen in `target/tmp/screenshots/`, for whoever wants to look.
    pub(crate) async fn picture(&self, name: &str) {
        self.run_async(
            "const done = arguments[0]; const seen = (image) => { const box = image.getBoundingClientRect(); \
             return box.bottom > 0 && box.top < window.innerHeight && box.height > 0; }; \
             Promise.all([...document.images].filter(seen).map((image) => image.decode().catch(() => null))).then(() => done(true));",
            vec![],
        )
        .await;
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("screenshots");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(
            folder.join(format!("{name}.png")),
            self.client.screenshot().await.unwrap(),
        )
        .unwrap();
    }

    /// The same of the whole page, however long.
    pub(crate) async fn whole_picture(&self, name: &str) {
        // The window is somewhat larger than the page in it.
        let script = "return [document.documentElement.scrollHeight + window.outerHeight - window.innerHeight, window.outerWidth];";
        let sizes = self.run(script, vec![]).await;
        let height = sizes[0].as_u64().unwrap().clamp(400, 4000) as u32;
        let width = sizes[1].as_u64().unwrap() as u32;
        let before = self.client.get_window_size().await.unwrap();
        self.client.set_window_size(width, height).await.unwrap();
        self.picture(name).await;
        let (width, height) = before;
        self.client
            .set_window_size(width as u32, height as u32)
            .await
            .unwrap();
    }

    /// What the browser complained about since it was asked last: errors of scripts, of the policy, of files not found.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        let log = self.client.issue_cmd(BrowserLog).await.unwrap();
        let entries = log.as_array().cloned().unwrap_or_default();
        entries
            .iter()
            .filter(|entry| entry["level"] == "SEVERE")
            .map(|entry| entry["message"].to_string())
            .collect()
    }

    pub(crate) async fn close(mut self) {
        self.client.clone().close().await.unwrap();
        stop_driver(&mut self.driver);
    }
}

impl Drop for Browser {
    /// A test that failed leaves its browser to its driver, which ends it.
    fn drop(&mut self) {
        stop_driver(&mut self.driver);
    }
}

/// ChromeDriver ends its browsers when it is told to, not when it is killed.
fn stop_driver(driver: &mut Child) {
    if driver.try_wait().is_ok_and(|status| status.is_some()) {
        return;
    }
    let _ = Command::new("kill").arg(driver.id().to_string()).status();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(5) {
        if driver.try_wait().is_ok_and(|status| status.is_some()) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = driver.kill();
    let _ = driver.wait();
}

/// ChromeDriver on a port of its own choice, and that port. It wants the same port for IPv4 and IPv6, and gives up when
/// another test was faster with one of them.
fn start_driver() -> (Child, u16) {
    for _ in 0..10 {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver does not start; `apt-get install chromium chromium-driver` or `cargo xtask test` installs it");
        let lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines.map_while(Result::ok).find_map(|line| {
            let port = line.split_once("successfully on port ")?.1;
            port.trim_end_matches('.').parse().ok()
        });
        match port {
            Some(port) => return (driver, port),
            None => stop_driver(&mut driver),
        }
    }
    panic!("chromedriver finds no port");
}

/// ChromeDriver's own command for the browser's log.
#[derive(Debug)]
struct BrowserLog;

impl WebDriverCompatibleCommand for BrowserLog {
    fn endpoint(
        &self,
        base: &url::Url,
        session: Option<&str>,
    ) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/se/log", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (
            http::Method::POST,
            Some(json!({ "type": "browser" }).to_string()),
        )
    }
}
