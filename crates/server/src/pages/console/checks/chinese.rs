//! What a contract check says, in Chinese. The check itself, which is a command too, speaks English; what is not known here is
//! shown as it says it.

/// What was sent, by the stable name of its case and its words in English.
pub(super) fn about(rule: &str, english: &str) -> Option<String> {
    if let Some(case) = rule.strip_prefix("malformed: ") {
        return malformed(case);
    }
    if let Some(code) = rule.strip_prefix("status-") {
        return Some(format!("以状态 {code} 结束的流程"));
    }
    if rule == "too-large" {
        let size = english.strip_prefix("a body of ")?;
        return Some(format!("{size} 的请求体"));
    }
    let chinese = match rule {
        "sample" => "约定页面上的请求样例",
        "unknown-members" => "四个成员之外还有别的成员",
        "member-order" => "成员的顺序不同",
        "escapes" => "相同的字符，以转义书写",
        "white-space" => "记号之间有空白",
        "url-128" => "恰好 128 个字符的地址",
        "url-128-wide" => "128 个字符，但字节更多的地址",
        "short-id" => "短于 32 位的流程编号",
        "leap-day" => "闰年的 2 月 29 日",
        "slow-client" => "用一秒才发完的请求体",
        "repeat" => "同一回调再发一次",
        "repeat-form" => "同样的四个成员，换一种写法",
        "at-once" => "同一时刻的两份相同回调",
        "conflict" => "已结束的流程又以另一种状态结束",
        "after-conflict" => "再次发送它最初的结束状态",
        "method" => "GET 请求",
        "slow-malformed" => "用一秒才发完的、格式不对的请求体",
        "stalled-clients" => "其他客户端中途停住时的（格式不对的）请求",
        "content-type" => "声明为表单的 JSON",
        "signature" => "不可能正确的签名（没有给出密钥）",
        "signature-missing" => "没有签名",
        "signature-wrong" => "用另一个密钥签名",
        "signature-body" => "对其他内容的签名",
        "signature-old" => "一小时前的签名",
        "signature-rotation" => "两个签名，第二个正确",
        _ => return None,
    };
    Some(chinese.to_owned())
}

/// A body that is to be refused, by its name among the contract's vectors.
fn malformed(case: &str) -> Option<String> {
    if let Some(member) = case.strip_prefix("without ") {
        return Some(format!("缺少 {member}"));
    }
    if let Some(member) = case.strip_suffix(" empty") {
        return Some(format!("{member} 为空"));
    }
    if let Some(member) = case.strip_suffix(" null") {
        return Some(format!("{member} 为 null"));
    }
    if let Some(status) = case.strip_prefix("status '") {
        return Some(format!("状态为 '{status}"));
    }
    if let Some(time) = case.strip_prefix("time '") {
        return Some(format!("时间为 '{time}"));
    }
    let chinese = match case {
        "a URL of 129 characters" => "129 个字符的地址",
        "an id of 33" => "33 位的流程编号",
        "status as a number" => "状态写成数字",
        "no JSON" => "不是 JSON",
        "empty body" => "空的请求体",
        "an array" => "数组",
        "a string" => "字符串",
        "cut short" => "没有写完",
        "trailing text" => "后面还有文字",
        "a member twice" => "同一成员出现两次",
        "a byte order mark" => "有字节顺序标记（BOM）",
        "deep nesting in an ignored member" => "被忽略的成员里嵌套过深",
        "nesting of 65 levels in all" => "总共嵌套 65 层",
        "a member twice, once escaped" => "同一成员出现两次，其中一次用转义书写",
        "a member twice in an ignored member" => "被忽略的成员里同一成员出现两次",
        "an ignored member twice" => "被忽略的成员出现两次",
        "half a surrogate pair" => "半个代理对",
        "129 characters beyond the basic plane" => "129 个基本平面之外的字符",
        "NaN in an ignored member" => "被忽略的成员里有 NaN",
        "a number with a leading zero in an ignored member" => "被忽略的成员里有以零开头的数字",
        "a number without a fraction in an ignored member" => {
            "被忽略的成员里有小数点后没有数字的数"
        }
        "a comma too many" => "多了一个逗号",
        "a raw line break in a string" => "字符串里有未转义的换行",
        "single quotes" => "用了单引号",
        "a comment" => "有注释",
        "the year 0000" => "0000 年",
        "29 February 1900" => "1900 年 2 月 29 日",
        "time with a zone" => "时间带有时区",
        "time with a blank after it" => "时间后面有空格",
        "names in upper case" => "成员名用了大写",
        _ => return None,
    };
    Some(chinese.to_owned())
}

/// How the contract wants it answered.
pub(super) fn contract(english: &str) -> Option<String> {
    if let Some(code) = english.strip_prefix("not 000; ") {
        return Some(format!("不得为 000，应为 {code}"));
    }
    let code = english.strip_prefix("may be ")?;
    Some(format!("可以为 {code}"))
}

/// Why something is not simply as it should be.
pub(super) fn remark(english: &str) -> Option<String> {
    if let Some((remark, times)) = english.split_once("; ")
        && let Some(times) = times.strip_suffix(" in a row: the rest is not sent")
    {
        let remark = self::remark(remark).unwrap_or_else(|| remark.to_owned());
        return Some(format!("{remark}；连续 {times} 次，不再发送其余请求"));
    }
    if let Some(reason) = english.strip_prefix("no answer: ") {
        return Some(format!("没有应答：{reason}"));
    }
    if let Some(code) = english.strip_prefix("refused with another code or HTTP status than ") {
        return Some(format!("已拒绝，但应答码或 HTTP 状态不是 {code}"));
    }
    let chinese = match english {
        "close to the platform's time limit" => "接近平台的时限",
        "acknowledged what must be refused" => "确认了必须拒绝的请求",
        "acknowledged" => "已确认",
        "refused, but the answer has no response_code" => "已拒绝，但应答里没有 response_code",
        _ => return None,
    };
    Some(chinese.to_owned())
}

#[cfg(test)]
mod tests {
    use sealpost_contract::vectors;

    use super::*;

    #[test]
    fn every_case_of_the_vectors_is_told_in_chinese() {
        let refused = vectors::requests().into_iter();
        for case in refused.filter(|case| case.answer != "000") {
            let told = about(&format!("malformed: {}", case.name), &case.name);
            assert!(told.is_some(), "{}", case.name);
        }
    }

    #[test]
    fn what_is_said_of_a_case_is_told_in_chinese() {
        let said = |told: Option<String>| told.unwrap_or_default();
        assert_eq!(
            said(about("too-large", "a body of 512 KiB")),
            "512 KiB 的请求体"
        );
        assert_eq!(said(about("status-7", "")), "以状态 7 结束的流程");
        assert_eq!(about("new-case", "something new"), None);
        assert_eq!(said(contract("not 000; 409")), "不得为 000，应为 409");
        assert_eq!(contract("000"), None);
        let remark = |english| said(super::remark(english));
        assert_eq!(
            remark("no answer: timeout; 4 in a row: the rest is not sent"),
            "没有应答：timeout；连续 4 次，不再发送其余请求"
        );
        assert_eq!(
            remark("refused with another code or HTTP status than 400"),
            "已拒绝，但应答码或 HTTP 状态不是 400"
        );
    }
}
