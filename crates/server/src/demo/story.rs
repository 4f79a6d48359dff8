//! The story itself: what is done, what must come of it, and what is shown.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use sealpost_contract::{EndStatus, SignFlowId, UtcMillis};
use sealpost_pdf::{Report, Trust, Verdict};
use serde_json::{Value, json};

use super::channel::{DemoChannel, PATIENCE};
use super::telling::Teller;
use crate::http_client::{Answer, HttpClient};
use crate::server::Server;

/// 张三, drawn by hand.
const SIGNATURE: &[u8] = include_bytes!("signature.png");

const SELLER: &str = "上海云锦置业有限公司";
const BUYER: &str = "张三";

pub(super) struct Story<'a> {
    teller: &'a Teller,
    server: &'a Server,
    channel: &'a DemoChannel,
    http: HttpClient,
    out: PathBuf,
    begun: Instant,
}

/// A flow that was created.
struct Started {
    id: SignFlowId,
    sign_url: String,
    answer: Value,
    took: Duration,
}

impl<'a> Story<'a> {
    pub(super) fn new(
        teller: &'a Teller,
        server: &'a Server,
        channel: &'a DemoChannel,
        out: PathBuf,
    ) -> Self {
        Self {
            teller,
            server,
            channel,
            http: HttpClient::default(),
            out,
            begun: Instant::now(),
        }
    }

    pub(super) fn opening(&self) {
        let teller = self.teller;
        teller.line(teller.say(
            "Sealpost 演示：一张新房收据，从开具、盖章、签名到渠道确认（只用本机回环地址）",
            "Sealpost demo: a receipt for a new home, drawn, sealed, signed, and its channel told (loopback only)",
        ));
        teller.note(&format!(
            "{}  {}",
            teller.say("服务", "server "),
            self.server.app().public_url()
        ));
        teller.note(&format!(
            "{}  {}  {}",
            teller.say("渠道", "channel"),
            self.channel.name,
            self.channel.callback_url
        ));
    }

    /// 2: drawn, sealed, signed, told, checked.
    pub(super) async fn completed(&mut self) -> anyhow::Result<()> {
        let teller = self.teller;
        teller.heading(
            "一、开具收据，出卖人自动盖章",
            "1. A receipt comes in and is sealed",
        );
        let started = self.start(self.channel, "XS-2026-0001", None).await?;
        teller.done(
            teller.say(
                "POST /v1/sign-flows：收据已绘成 PDF/A，签署流程已发起",
                "POST /v1/sign-flows: drawn as PDF/A, sign flow started",
            ),
            started.took,
        );
        teller.note(&format!("{}  {}", teller.say("流程", "flow"), started.id));
        teller.note("首付款 ¥1,640,902.50  人民币壹佰陆拾肆万零玖佰零贰元伍角");
        let seller = &started.answer["signers"][0];
        ensure!(
            seller["step"] == "applied",
            "the seller's seal was not applied: {seller}"
        );
        teller.done(
            &format!(
                "{}{}",
                teller.say(
                    "静默签：印章已加盖并签入 PDF",
                    "the seller's seal is in the PDF"
                ),
                teller.aside(SELLER)
            ),
            started.took,
        );

        teller.heading(
            "二、买受人在手机上打开链接，阅读并签名",
            "2. The buyer opens the link, reads and signs",
        );
        let (page, took) = timed(self.http.get(&started.sign_url, None)).await?;
        expect(&page, StatusCode::OK)?;
        teller.done(
            &format!(
                "GET /s/…{}{}{}",
                teller.colon(),
                teller.say("签署页", "the signing page"),
                teller.aside(&kilobytes(&page))
            ),
            took,
        );
        let (image, took) = timed(
            self.http
                .get(&format!("{}/pages/1.png?width=800", started.sign_url), None),
        )
        .await?;
        expect(&image, StatusCode::OK)?;
        ensure!(
            image.header("content-type") == "image/png",
            "the page's image is no PNG"
        );
        teller.done(
            &format!(
                "GET /s/…/pages/1.png{}{}{}",
                teller.colon(),
                teller.say("收据第 1 页", "page 1 of the receipt"),
                teller.aside(&kilobytes(&image))
            ),
            took,
        );
        let signed_at = Instant::now();
        let signed = self.sign(&started.sign_url).await?;
        expect(&signed, StatusCode::OK)?;
        let completed = |flow: &Value| flow["sign_flow_status"] == "2";
        let flow = self
            .wait_for(self.channel, signed.json(), completed)
            .await?;
        ensure!(completed(&flow), "the flow did not complete: {flow}");
        teller.done(
            teller.say(
                "POST /s/…/sign：签名已签入 PDF，整份文件已复核，流程为 2 已完成",
                "POST /s/…/sign: signed, sealed, verified; the flow is 2 completed",
            ),
            signed_at.elapsed(),
        );

        teller.heading(
            "三、渠道收到回调，应答 000",
            "3. The channel is told and answers 000",
        );
        let (callback, told_at) = self.channel.told(&started.id, EndStatus::Completed).await?;
        teller.done(
            teller.say(
                "回调已送达，签名头已核对，应答 {\"response_code\":\"000\"}",
                "delivered, its signature checked, answered {\"response_code\":\"000\"}",
            ),
            told_at.saturating_duration_since(signed_at),
        );
        teller.note(&format!(
            "sign_end_time     {}",
            callback.sign_end_time.as_str()
        ));
        teller.note(&format!(
            "sign_flow_status  {}",
            callback.sign_flow_status.code()
        ));
        teller.note(&format!("sign_flow_id      {}", callback.sign_flow_id));
        teller.note(&format!(
            "sign_file_url     {}",
            callback.sign_file_url.as_str()
        ));
        self.acknowledged(self.channel, &started.id, 1).await?;

        teller.heading(
            "四、渠道取回文件并验证",
            "4. The channel fetches the file and verifies it",
        );
        let (file, took) = timed(self.http.get(callback.sign_file_url.as_str(), None)).await?;
        expect(&file, StatusCode::OK)?;
        teller.done(
            &format!("GET sign_file_url{}{}", teller.colon(), kilobytes(&file)),
            took,
        );
        let begun = Instant::now();
        let (report, authority) = self.verified(&file).await?;
        ensure!(
            report.verdict == Verdict::Valid && report.signatures.len() == 2,
            "the file does not verify: {report:?}"
        );
        teller.done(
            teller.say(
                "两个电子签名均有效，文件自签署后未被改动",
                "both signatures are valid; nothing was changed since",
            ),
            begun.elapsed(),
        );
        for signature in &report.signatures {
            let signer = signature
                .signer
                .as_ref()
                .and_then(|signer| signer.common_name.as_deref())
                .unwrap_or("?");
            let level = crate::cli::verify::level(signature);
            teller.note(&format!(
                "{signer}  {}  PAdES {level}",
                signature.signature_algorithm
            ));
        }
        self.keep(&file, &authority, &started.id)
    }

    /// 3, 5 and 7, in short.
    pub(super) async fn other_ends(&self) -> anyhow::Result<()> {
        let teller = self.teller;
        teller.heading("五、没有签成的三种结局", "5. The three other ends");
        let begun = Instant::now();
        let revoked = self.start(self.channel, "XS-2026-0002", None).await?;
        let url = format!(
            "{}/v1/sign-flows/{}/revoke",
            self.server.app().public_url(),
            revoked.id
        );
        let answer = self
            .http
            .post(
                &url,
                Some(&self.channel.api_key),
                &json!({ "reason": "金额填写有误" }),
            )
            .await?;
        expect(&answer, StatusCode::OK)?;
        self.void(&revoked.id, EndStatus::Revoked).await?;
        teller.done(
            teller.say(
                "3 已撤销：发起方撤销（金额填写有误）；渠道已确认，文件为作废件",
                "3 revoked by the initiator; acknowledged; the file is a void copy",
            ),
            begun.elapsed(),
        );

        let begun = Instant::now();
        let soon = self.server.app().now() + 1000;
        let expired = self.start(self.channel, "XS-2026-0003", Some(soon)).await?;
        self.void(&expired.id, EndStatus::Expired).await?;
        teller.done(
            teller.say(
                "5 已过期：一秒期限内无人签名；渠道已确认，文件为作废件",
                "5 expired: nobody signed within a second; acknowledged; a void copy",
            ),
            begun.elapsed(),
        );

        let begun = Instant::now();
        let rejected = self.start(self.channel, "XS-2026-0004", None).await?;
        let answer = self
            .http
            .post(
                &format!("{}/reject", rejected.sign_url),
                None,
                &json!({ "reason": "房号不对" }),
            )
            .await?;
        expect(&answer, StatusCode::OK)?;
        self.void(&rejected.id, EndStatus::Rejected).await?;
        teller.done(
            teller.say(
                "7 已拒签：买受人拒签（房号不对）；渠道已确认，文件为作废件",
                "7 rejected by the buyer; acknowledged; the file is a void copy",
            ),
            begun.elapsed(),
        );
        Ok(())
    }

    /// A channel that answers 999 twice and then 000.
    pub(super) async fn retries(&self, stubborn: &DemoChannel) -> anyhow::Result<()> {
        let teller = self.teller;
        teller.heading(
            "六、渠道先答 999 两次，重试后答 000",
            "6. A channel answers 999 twice, then 000",
        );
        let begun = Instant::now();
        let started = self.start(stubborn, "XS-2026-0005", None).await?;
        expect(&self.sign(&started.sign_url).await?, StatusCode::OK)?;
        stubborn.told(&started.id, EndStatus::Completed).await?;
        let callback = self.acknowledged(stubborn, &started.id, 3).await?;
        teller.done(
            &format!(
                "{}{}",
                teller.say(
                    "第三次送达时确认，一份未丢",
                    "acknowledged at the third attempt, nothing lost"
                ),
                teller.aside(&stubborn.name)
            ),
            begun.elapsed(),
        );
        for attempt in callback["attempts"].as_array().into_iter().flatten() {
            let at = self.local_time(attempt["at"].as_str().unwrap_or_default());
            teller.note(&format!(
                "{}  {at}  HTTP {}  {}",
                attempt["number"],
                attempt["http_status"],
                attempt["answer"].as_str().unwrap_or_default()
            ));
        }
        Ok(())
    }

    pub(super) fn ending(&self) {
        let seconds = self.begun.elapsed().as_secs_f64();
        let teller = self.teller;
        teller.line(&match teller.say("zh", "en") {
            "zh" => format!("\n全部步骤符合预期，用时 {seconds:.1} 秒。"),
            _ => format!("\nEvery step was as it should be, in {seconds:.1} s."),
        });
    }

    /// What can be opened while the server is left running.
    pub(super) async fn links(&self) -> anyhow::Result<Vec<(String, String)>> {
        let waiting = self.start(self.channel, "XS-2026-0006", None).await?;
        let (teller, base) = (self.teller, self.server.app().public_url());
        let link = |zh: &str, en: &str, link: String| (teller.say(zh, en).to_owned(), link);
        Ok(vec![
            link("待签名的收据", "a receipt to sign", waiting.sign_url),
            link("控制台", "console", format!("{base}/console")),
            link("接口文档", "API", format!("{base}/docs")),
            link("接口密钥", "API key", self.channel.api_key.clone()),
        ])
    }

    /// Creates a flow as a channel would.
    async fn start(
        &self,
        channel: &DemoChannel,
        number: &str,
        expires_at: Option<UtcMillis>,
    ) -> anyhow::Result<Started> {
        let mut request = json!({
            "reference": number,
            "document": { "receipt": {
                "number": number,
                "issued_on": "2026-11-24",
                "project": "云锦东方花园",
                "building": "3幢",
                "unit": "1单元",
                "room": "1802室",
                "contract_number": "沪房预字2026第018802号",
                "payer": { "name": BUYER, "id_number": "110105199003072316" },
                "item": "首付款",
                "amount_fen": 164_090_250,
                "payment_method": "银行转账",
                "transaction_number": "20261124000018802",
                "payee": SELLER,
                "supervised_account": "上海银行浦东支行 0300 1234 5678 9012",
                "handler": "李静",
            } },
            "signers": [
                { "type": "organization", "name": SELLER, "automatic": true, "order": 1 },
                { "type": "person", "name": BUYER, "order": 2 },
            ],
        });
        if let Some(at) = expires_at {
            request["expires_at"] = crate::api::time(at).into();
        }
        let url = format!("{}/v1/sign-flows", self.server.app().public_url());
        let begun = Instant::now();
        let answer = self
            .http
            .post(&url, Some(&channel.api_key), &request)
            .await?;
        expect(&answer, StatusCode::CREATED)?;
        let mut answer = answer.json();
        if expires_at.is_none() {
            let sealed = |flow: &Value| flow["signers"][0]["step"] == "applied";
            answer = self.wait_for(channel, answer, sealed).await?;
        }
        let took = begun.elapsed();
        let text = |value: &Value, what: &str| {
            value
                .as_str()
                .map(str::to_owned)
                .with_context(|| format!("the answer has no {what}: {answer}"))
        };
        let id = text(&answer["sign_flow_id"], "sign_flow_id")?.parse()?;
        let sign_url = text(&answer["signers"][1]["sign_url"], "sign_url")?;
        Ok(Started {
            id,
            sign_url,
            answer,
            took,
        })
    }

    /// The flow once it is as it should be. An answer waits for the seal only so long; a busy machine may need longer.
    async fn wait_for(
        &self,
        channel: &DemoChannel,
        mut flow: Value,
        is_so: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<Value> {
        let base = self.server.app().public_url();
        let id = flow["sign_flow_id"].as_str().unwrap_or_default().to_owned();
        let begun = Instant::now();
        while !is_so(&flow) && begun.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let url = format!("{base}/v1/sign-flows/{id}");
            let answer = self.http.get(&url, Some(&channel.api_key)).await?;
            expect(&answer, StatusCode::OK)?;
            flow = answer.json();
        }
        Ok(flow)
    }

    /// Signs as the page does.
    async fn sign(&self, sign_url: &str) -> anyhow::Result<Answer> {
        let body = json!({ "signature_png_base64": STANDARD.encode(SIGNATURE) });
        Ok(self
            .http
            .post(&format!("{sign_url}/sign"), None, &body)
            .await?)
    }

    /// The channel was told of this end, has acknowledged it, and is served a file without any signature.
    async fn void(&self, flow: &SignFlowId, end: EndStatus) -> anyhow::Result<()> {
        let (callback, _) = self.channel.told(flow, end).await?;
        self.acknowledged(self.channel, flow, 1).await?;
        let file = self.http.get(callback.sign_file_url.as_str(), None).await?;
        expect(&file, StatusCode::OK)?;
        let (report, _) = self.verified(&file).await?;
        ensure!(
            report.verdict == Verdict::Unsigned,
            "the void copy carries signatures: {report:?}"
        );
        Ok(())
    }

    /// Our side has recorded the acknowledgement, after so many attempts.
    async fn acknowledged(
        &self,
        channel: &DemoChannel,
        flow: &SignFlowId,
        attempts: usize,
    ) -> anyhow::Result<Value> {
        let base = self.server.app().public_url();
        let list = format!("{base}/v1/callbacks?sign_flow_id={flow}");
        for _ in 0..100 {
            let found =
                self.http.get(&list, Some(&channel.api_key)).await?.json()["data"][0].clone();
            if found["state"] == "acknowledged" {
                let url = format!(
                    "{base}/v1/callbacks/{}",
                    found["id"].as_str().unwrap_or_default()
                );
                let callback = self.http.get(&url, Some(&channel.api_key)).await?.json();
                let made = callback["attempts"].as_array().map_or(0, Vec::len);
                ensure!(
                    made == attempts,
                    "{made} attempts were made instead of {attempts}: {callback}"
                );
                return Ok(callback);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        anyhow::bail!("the acknowledgement of {flow} was not recorded within 5 s")
    }

    /// Verifies as a channel would: with the certificate that the server publishes as the only root.
    async fn verified(&self, file: &Answer) -> anyhow::Result<(Report, Answer)> {
        use rustls::pki_types::CertificateDer;
        use rustls::pki_types::pem::PemObject as _;
        let authority = self
            .http
            .get(&format!("{}/ca.pem", self.server.app().public_url()), None)
            .await?;
        expect(&authority, StatusCode::OK)?;
        let root = CertificateDer::from_pem_slice(&authority.body)
            .map_err(|error| anyhow::anyhow!("/ca.pem: {error}"))?;
        let report = sealpost_pdf::verify(
            &file.body,
            &Trust::roots([root.to_vec()]),
            self.server.app().now(),
        )?;
        Ok((report, authority))
    }

    /// A time of the API as a wall clock shows it where the operator is.
    fn local_time(&self, at: &str) -> String {
        let zone = &self.server.app().config().time_zone;
        let time = at
            .parse::<jiff::Timestamp>()
            .map(|time| zone.to_datetime(time));
        time.map(|time| time.strftime("%H:%M:%S%.3f").to_string())
            .unwrap_or_default()
    }

    /// Writes the signed PDF and the root certificate to where a person finds them.
    fn keep(&self, file: &Answer, authority: &Answer, flow: &SignFlowId) -> anyhow::Result<()> {
        std::fs::create_dir_all(&self.out)
            .with_context(|| format!("{} cannot be made", self.out.display()))?;
        let (pdf, root) = (
            self.out.join(format!("{flow}.pdf")),
            self.out.join("ca.pem"),
        );
        for (path, bytes) in [(&pdf, &file.body), (&root, &authority.body)] {
            std::fs::write(path, bytes)
                .with_context(|| format!("{} cannot be written", path.display()))?;
        }
        let teller = self.teller;
        teller.note(&format!(
            "{}  {}",
            teller.say("已签署的 PDF", "signed PDF      "),
            pdf.display()
        ));
        teller.note(&format!(
            "{}  {}",
            teller.say("演示用根证书", "root certificate"),
            root.display()
        ));
        Ok(())
    }
}

fn expect(answer: &Answer, status: StatusCode) -> anyhow::Result<()> {
    ensure!(
        answer.status == status,
        "answered {} instead of {status}: {}",
        answer.status,
        String::from_utf8_lossy(&answer.body)
    );
    Ok(())
}

/// An answer's size.
fn kilobytes(answer: &Answer) -> String {
    format!("{} KB", answer.body.len().div_ceil(1024))
}

/// Runs a step and says how long it took.
async fn timed<T, E: Into<anyhow::Error>>(
    step: impl Future<Output = Result<T, E>>,
) -> anyhow::Result<(T, Duration)> {
    let begun = Instant::now();
    let done = step.await.map_err(Into::into)?;
    Ok((done, begun.elapsed()))
}
