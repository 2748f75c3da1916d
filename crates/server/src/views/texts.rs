//! Every text of the console, in every language: one line for each, so that none can be missing in one of them.
//!
//! `{}` is where [`fill`] puts something. Words of the protocol are the ones that `words` explains.

use kusabi_api::{
    Kind,
    admin::{
        AlarmKind, AuthSetState, DeviceState, EventKind, Freshness, Inventory, OrderKind,
        OrderState, Role, RolloutDeviceReason, RolloutDeviceState, RolloutReason, RolloutState,
    },
};

macro_rules! texts {
    ($($name:ident: $en:literal / $ja:literal;)+) => {
        /// The texts in one language.
        #[derive(Debug)]
        pub(crate) struct Texts { $(pub(crate) $name: &'static str,)+ }

        /// In English.
        pub(super) static EN: Texts = Texts { $($name: $en,)+ };

        /// In Japanese.
        pub(super) static JA: Texts = Texts { $($name: $ja,)+ };

        /// Name, English, Japanese.
        #[cfg(test)]
        const ALL: &[(&str, &str, &str)] = &[$((stringify!($name), $en, $ja),)+];
    };
}

/// The text with `value` in the place of its `{}`.
pub(crate) fn fill(text: &str, value: impl std::fmt::Display) -> String {
    text.replacen("{}", &value.to_string(), 1)
}

texts! {
    // The frame.
    lang: "en" / "ja";
    skip: "Skip to the content" / "本文へ移動";
    home: "kusabi: devices" / "kusabi:機器一覧へ";
    navigation: "Pages" / "ページ";
    nav_devices: "Devices" / "機器";
    nav_alarms: "Alarms" / "警報";
    nav_mender: "Mender" / "Mender";
    nav_orders: "Orders" / "指示";
    nav_rollouts: "Rollouts" / "展開";
    nav_audit: "Audit log" / "監査記録";
    nav_words: "Words" / "用語";
    open_alarms: "{} open" / "未確認 {} 件";
    organisation: "Organisation" / "組織";
    language: "Language" / "言語";
    theme: "Colours" / "配色";
    theme_auto: "As the system" / "システムに合わせる";
    theme_light: "Light" / "ライト";
    theme_dark: "Dark" / "ダーク";
    live_on: "Live" / "更新中";
    live_off: "Reconnecting" / "再接続中";
    live_title: "This page follows the fleet by itself" / "この画面は機器の変化に合わせて自動で更新されます";
    sign_out: "Sign out" / "ログアウト";
    footer: "kusabi: keys without certificates" / "kusabi:証明書のない鍵管理";

    // Lists.
    next_page: "Next page" / "次のページ";
    first_page: "First page" / "最初のページ";
    pages: "Pages of this list" / "一覧のページ";
    shown: "{} shown" / "{} 件を表示";
    none: "none" / "なし";
    never: "never" / "なし";
    all: "all" / "すべて";
    at: "When" / "日時";

    // Ages.
    age_now: "now" / "今";
    age_s: "{} sec ago" / "{} 秒前";
    age_min: "{} min ago" / "{} 分前";
    age_h: "{} hr ago" / "{} 時間前";
    age_d: "{} days ago" / "{} 日前";
    age_y: "{} yr ago" / "{} 年前";

    // Signing in.
    sign_in: "Sign in" / "ログイン";
    sign_in_lead: "Paste a token of this server. It makes a session in this browser for twelve hours; the token itself is not kept here." / "このサーバーのトークンを貼り付けてください。このブラウザで 12 時間有効なセッションが作られます。トークン自体は保存されません。";
    token: "Token" / "トークン";
    token_hint: "It begins with kusabi_token_. On the server's machine, the file that “kusabi up” names holds one." / "kusabi_token_ で始まります。サーバー機では「kusabi up」が示すファイルに入っています。";
    token_bad: "No one is known by this token: it is mistyped, or was revoked." / "このトークンは登録されていません。入力に誤りがあるか、失効しています。";
    signed_out: "You are signed out. The session is ended on the server, too." / "ログアウトしました。サーバー側のセッションも終了しています。";
    sign_in_first: "Sign in to see this page. A session ends after twelve hours, or when its token is revoked." / "このページを見るにはログインしてください。セッションは 12 時間後、またはトークンの失効と同時に終わります。";

    // The first admin.
    first_admin: "The first admin" / "最初の管理者";
    first_admin_lead: "This one-time link makes the first admin of this server. Give a name; you get a token, shown once, and are signed in." / "この一度限りのリンクで、このサーバーの最初の管理者を作ります。名前を入れると、一度だけ表示されるトークンが発行され、ログインします。";
    your_name: "Your name" / "名前";
    name_hint: "1 to 128 characters; the audit log shows it." / "1〜128 文字。監査記録に表示されます。";
    name_bad: "This cannot be a name: {}" / "この名前は使えません:{}";
    become_admin: "Become the first admin" / "最初の管理者になる";
    link_used: "This link is used, older than an hour, or not the newest one. A new one comes from “kusabi up” as long as there is no admin; later ones get their token from an admin." / "このリンクは使用済みか、1 時間を過ぎたか、最新ではありません。管理者がまだいなければ「kusabi up」で新しいリンクが出ます。管理者がいる場合は、その人からトークンを受け取ってください。";
    link_missing: "This page needs the whole link that the server printed, with what stands behind “link=”." / "サーバーが表示したリンク全体(「link=」以降を含む)で開いてください。";
    welcome: "You are the admin, {}" / "{} さんは管理者になりました";
    keep_token: "Keep this token now. It is shown this once: the server holds only its hash." / "このトークンを今すぐ保管してください。表示されるのはこの一度だけで、サーバーにはハッシュしか残りません。";
    to_devices: "To the devices" / "機器一覧へ";

    // Devices.
    devices: "Devices" / "機器";
    devices_total: "{} in all" / "全 {} 台";
    tally: "Devices by state" / "状態ごとの台数";
    filter: "Filter" / "絞り込み";
    filter_apply: "Show" / "表示";
    filter_clear: "Clear" / "解除";
    search: "Search" / "検索";
    search_hint: "Serial or name" / "製造番号または名前";
    state: "State" / "状態";
    device_type: "Type" / "機種";
    group: "Group" / "グループ";
    groups: "Groups" / "グループ";
    inventory: "Inventory" / "構成";
    name: "Name" / "名前";
    serial: "Serial" / "製造番号";
    firmware: "Firmware" / "ファームウェア";
    last_contact: "Last contact" / "最終通信";
    unnamed: "(no name)" / "(名前なし)";
    nothing_matches: "No device matches." / "該当する機器はありません。";
    nothing_matches_hint: "Take a condition away, or clear the filter." / "条件を減らすか、絞り込みを解除してください。";
    empty_title: "No device yet" / "機器はまだありません";
    empty_lead: "This server knows of no device. There are two ways to the first one:" / "このサーバーにはまだ機器がありません。最初の 1 台を加える方法は 2 つあります。";
    empty_provision: "Devices that are being built" / "これから作る機器";
    empty_provision_text: "On your machine, register factory keys and make one provisioning file for each device. Copy the file into its image; at its first boot the device activates by itself and appears here." / "手元のコンピューターで工場鍵を登録し、機器ごとに設定ファイルを作ります。それを機器のイメージに入れると、初回起動時に自動で有効化され、ここに現れます。";
    empty_enrol: "Devices already in the field" / "すでに設置された機器";
    empty_enrol_text: "Make an enrolment token and the organisation's file, which holds no key, and give both to the agent on the device. The device makes its own key and waits until someone accepts it." / "登録用トークンと、鍵を含まない組織のファイルを作り、機器のエージェントに渡します。機器は自分で鍵を作り、承認されるまで待ちます。";
    empty_words: "New words? One page explains them." / "用語がわからないときは、こちらの解説をご覧ください。";

    // One device.
    device: "Device" / "機器";
    facts: "Facts" / "概要";
    device_id: "ID" / "ID";
    known_since: "Known since" / "登録日時";
    firmware_none: "not said yet" / "未報告";
    keys: "Keys" / "鍵";
    keys_lead: "What the ledger says of each key. This server verified every proof before it showed it; you can check it without this server." / "それぞれの鍵について台帳が示す内容です。サーバーは証明を検証してから表示しています。このサーバーに頼らずに確かめることもできます。";
    key: "Key" / "鍵";
    purpose: "Purpose" / "用途";
    purpose_pre: "Factory key" / "工場鍵";
    purpose_act: "Device key" / "デバイス鍵";
    purpose_art: "Release key" / "リリース鍵";
    purpose_ps: "Server key" / "サーバー鍵";
    purpose_writer: "Writer key" / "登録者の鍵";
    purpose_officer: "Officer key" / "責任者の鍵";
    purpose_revoker: "Revoker key" / "失効担当者の鍵";
    purpose_app: "Application key" / "アプリ鍵";
    status: "Status" / "状況";
    status_active: "active" / "有効";
    status_spent: "spent" / "使用済み";
    status_superseded: "superseded" / "交代済み";
    status_revoked: "revoked" / "失効";
    status_absent: "not on the ledger" / "台帳になし";
    reason_compromised: "compromised" / "漏えい";
    reason_lost: "lost" / "紛失";
    reason_retired: "retired" / "引退";
    reason_withdrawn: "withdrawn" / "取消";
    handle: "Handle" / "ハンドル";
    heights: "Heights" / "高さ";
    height_from: "from {}" / "{} から";
    height_to: "to {}" / "{} まで";
    height_from_label: "Valid from height" / "有効になった高さ";
    height_to_label: "Ended at height" / "終わった高さ";
    predecessor: "Key before it" / "前の鍵";
    suite: "Suite" / "方式";
    suite_1: "1: Ed25519 and X25519" / "1:Ed25519 と X25519";
    suite_2: "2: ECDSA and ECDH on P-256" / "2:P-256 の ECDSA と ECDH";
    public_keys: "Public keys" / "公開鍵";
    binding: "Binding" / "バインディング";
    proof: "Proof" / "証明";
    proof_at: "proven at height {}" / "高さ {} で証明済み";
    proof_present: "The quorum's signature covers a state of the ledger in which this key stands exactly so." / "クォーラム署名は、この鍵がまさにこの内容で載っている台帳の状態を保証しています。";
    proof_absent: "The quorum's signature covers a state of the ledger in which no key has this handle." / "クォーラム署名は、このハンドルの鍵が存在しない台帳の状態を保証しています。";
    proof_height: "Holds at height" / "証明の高さ";
    proof_time: "Time of that block" / "ブロックの時刻";
    proof_bytes: "Size" / "大きさ";
    bytes: "{} bytes" / "{} バイト";
    proof_missing: "The ledger does not answer now: nothing is proven. What follows is what this server remembers." / "台帳が応答しないため、証明できません。以下はサーバーの控えです。";
    proof_missing_short: "not proven now" / "今は証明なし";
    proof_check: "Check it yourself" / "自分で確かめる";
    proof_check_text: "This command asks a node and verifies the answer on your machine; with the chain ID it needs to believe nobody." / "このコマンドはノードに問い合わせ、答えを手元で検証します。チェーン ID があれば誰も信用する必要がありません。";
    proof_check_file: "Or take the proof with you:" / "証明ファイルを持ち出すこともできます:";
    proof_download: "Download the proof" / "証明をダウンロード";
    proof_spec: "Its format is written in spec/proof.md." / "形式は spec/proof.md に記されています。";
    proof_contents: "A proof is a block's header, the validators' signatures over it, and the path from its state root to this one row. Whoever knows the genesis document's hash can check all of it, offline." / "証明は、ブロックのヘッダー、それに対する検証者たちの署名、状態ルートからこの行までの経路でできています。ジェネシス文書のハッシュを知っていれば、オフラインですべて確かめられます。";
    difference: "Inventory difference" / "構成の相違";
    difference_none: "The newest inventory is as expected." / "最新の構成は期待どおりです。";
    difference_unknown: "There is no inventory yet, or nothing to compare it with." / "構成の報告がまだないか、比べる対象がありません。";
    component: "Component" / "構成要素";
    expected: "Expected" / "期待値";
    found: "Found" / "実際";
    change: "Change" / "違い";
    item_unexpected: "unexpected" / "余分";
    item_missing: "missing" / "欠落";
    item_changed: "changed" / "変更";
    absent: "absent" / "なし";
    reported: "Reported" / "報告日時";
    difference_more: "{} more" / "ほか {} 件";
    timeline: "Timeline" / "経過";
    timeline_none: "Nothing has happened yet." / "まだ何も起きていません。";
    timeline_more: "Earlier" / "以前の経過";
    timeline_newest: "Newest" / "最新の経過";
    acts: "Actions" / "操作";
    acts_viewer: "Your role is viewer: an operator or an admin can act." / "閲覧者のため操作はできません。運用者または管理者が操作できます。";
    acts_none: "Nothing can be done to it now: it has no device key that is in force." / "有効なデバイス鍵がないため、今は何も操作できません。";
    acts_moved: "It belongs to another organisation now, whose server acts on it. What stands here is of before." / "別の組織に移管されたため、操作は移管先のサーバーで行います。この画面の内容は移管前のものです。";
    done: "Done: {}" / "実行しました:{}";

    event_known: "Known to this server" / "サーバーに登録";
    event_activated: "Activated" / "有効化";
    event_rotated: "Took a new key" / "鍵を交代";
    event_revoked: "Key revoked" / "鍵が失効";
    event_given_away: "Given to another organisation" / "他組織へ移管";
    event_taken: "Taken from another organisation" / "他組織から受領";
    event_enrolled: "Enrolled from the field" / "現場から登録";
    event_accepted: "Key accepted" / "鍵の受け入れ";
    event_rejected: "Key rejected" / "鍵の拒否";
    event_order_given: "Order given" / "指示を発令";
    event_order_sent: "Order received" / "指示を受信";
    event_order_answered: "Order answered" / "指示に応答";
    event_firmware: "Runs another release" / "別のリリースに移行";
    event_reported: "Inventory reported" / "構成を報告";
    event_inventory_changed: "Inventory changed" / "構成が変化";
    event_alarm: "Alarm" / "警報";
    event_quarantined: "Quarantined" / "隔離";
    event_readmitted: "Readmitted" / "復帰";

    // Acts on a device.
    act_report: "Ask for its inventory" / "構成の報告を求める";
    act_report_text: "The device signs its whole inventory anew and sends it. Nothing on it changes." / "機器は構成全体に改めて署名して送ります。機器は何も変わりません。";
    act_rotate: "Rotate its key" / "鍵を交代させる";
    act_rotate_text: "The device makes a new device key, and the ledger puts it in the place of the old one. It keeps the old one until the new one is proven." / "機器は新しいデバイス鍵を作り、台帳上で古い鍵と交代します。新しい鍵が証明されるまで古い鍵は保持されます。";
    act_update: "Update it" / "更新する";
    act_update_text: "The device installs this release, if the ledger proves that it is published and not withdrawn. It tests itself after the reboot, and goes back if the test fails." / "台帳で公開済みかつ未取消と証明された場合に、機器はこのリリースを導入します。再起動後に自己診断を行い、失敗すれば元に戻ります。";
    act_repair: "Repair it" / "修復する";
    act_repair_text: "The device installs this release even if it says that it runs it already: what was tampered with is overwritten." / "すでに動作中と報告していても、機器はこのリリースを入れ直します。改ざんされた部分は上書きされます。";
    act_quarantine: "Quarantine it" / "隔離する";
    act_quarantine_text: "From now on the device gets no orders but repair and rotate, until someone readmits it." / "復帰させるまで、この機器には修復と鍵の交代以外の指示が出されません。";
    act_readmit: "Readmit it" / "復帰させる";
    act_readmit_text: "You say that the device that answers now is the right one. It is re-keyed from afar, and what a copy holds becomes worthless." / "今応答している機器が正しいものだと認めます。遠隔で鍵が交代し、複製が持つ鍵は無効になります。";
    release_digest: "Digest of the release" / "リリースのダイジェスト";
    release_hint: "64 hexadecimal digits, as “kusabi release” prints them." / "「kusabi release」が表示する 16 進 64 桁の値です。";
    release_bad: "This is no digest: it has 64 hexadecimal digits." / "ダイジェストではありません(16 進 64 桁)。";
    confirm: "Yes: {}" / "はい、{}";
    cancel: "Cancel" / "やめる";
    to_device: "To this device" / "対象の機器";

    // Alarms.
    alarms: "Alarms" / "警報";
    alarms_open: "Open" / "未確認";
    alarms_all: "All" / "すべて";
    alarms_none: "No open alarm." / "未確認の警報はありません。";
    alarms_none_ever: "There has been no alarm." / "警報はまだ一度もありません。";
    alarm: "Alarm" / "警報";
    raised: "Raised" / "発生";
    acknowledge: "Acknowledge" / "確認する";
    acknowledged: "Acknowledged" / "確認";
    acknowledged_by: "by {}" / "確認者 {}";
    detail: "Particulars" / "詳細";
    alarm_fork: "Copied key" / "鍵の複製";
    alarm_fork_now: "Two devices hold one key. Find out which is yours, then readmit it: that re-keys it and shuts the other out." / "2 台の機器が同じ鍵を持っています。正しい方を確かめて復帰させてください。鍵が交代し、もう一方は締め出されます。";
    alarm_unknown_head: "Lost memory" / "記憶の喪失";
    alarm_unknown_head_now: "The device or this server was set up anew. If neither was, treat it as a copied key." / "機器かサーバーが初期化されています。心当たりがなければ、鍵の複製として扱ってください。";
    alarm_inventory: "Unexpected software" / "想定外のソフトウェア";
    alarm_inventory_now: "Look at the difference item by item, then repair the device." / "相違を項目ごとに確認し、機器を修復してください。";
    alarm_no_inventory: "Inventory unknown" / "構成が不明";
    alarm_no_inventory_now: "The particulars say why. Look at the device's log and order a report, or bring the expected inventory here." / "詳細の理由を確認し、機器のログを見て報告を指示するか、期待する構成をこのサーバーに登録してください。";
    alarm_stale: "Hears nothing new" / "台帳の更新が届かない";
    alarm_stale_now: "The device gets no newer block: look at its network, whether this server's ledger node grows, and whether enough validators are reached for freshness receipts." / "機器に新しいブロックが届いていません。ネットワーク、サーバー側の台帳ノードの進み具合、鮮度の証明に必要な数の検証者に届くかを確認してください。";
    alarm_order: "Order failed" / "指示の失敗";
    alarm_order_now: "Look at the device's orders; give the order again once the cause is gone." / "機器の指示を確認し、原因を除いてからもう一度指示してください。";

    // Orders.
    rollout_numbered: "rollout {}" / "展開 {}";
    orders: "Orders" / "指示";
    orders_none: "No order was given yet." / "指示はまだありません。";
    mender: "Stock Mender devices" / "標準の Mender 機器";
    mender_lead: "What a device says it is, anyone can say: compare the key with the device's own before you accept it. Its key then stands on the ledger." / "機器の名乗りは誰にでもできます。受け入れる前に、鍵を機器のものと照合してください。受け入れると鍵は台帳に載ります。";
    mender_waiting: "Waiting" / "待機中";
    mender_all: "All Mender devices" / "すべての Mender 機器";
    mender_none: "No Mender device waits." / "待機中の Mender 機器はありません。";
    mender_none_ever: "No Mender device has asked yet." / "Mender 機器からの要求はまだありません。";
    mender_identity: "Says it is" / "機器の名乗り";
    mender_key: "Key (SHA-256)" / "鍵 (SHA-256)";
    mender_beside: "Another key is served, or vouched for, under this identity." / "この名乗りには、受け入れ済み、または事前に登録された別の鍵があります。";
    mender_asked: "First heard" / "最初の通信";
    mender_decision: "Decision" / "判断";
    mender_accept: "Accept" / "受け入れる";
    mender_reject: "Reject" / "拒否する";
    auth_pending: "Waits" / "未判断";
    auth_preauthorized: "Vouched for" / "事前承認";
    auth_accepted: "Accepted" / "受け入れ済み";
    auth_rejected: "Rejected" / "拒否済み";
    class: "Class" / "区分";
    class_mender: "Stock Mender client: it checks its artifacts' signatures and TLS. No proof of the ledger, no withdrawal and no defence against older releases on the device." / "標準の Mender クライアント。確認するのは成果物の署名と TLS だけです。機器側では、台帳の証明、リリースの取り下げ、旧版への巻き戻し防止は働きません。";
    orders_lead: "What devices were told to do. A device takes an order at its next contact, and at once where it waits." / "機器への指示です。機器は次の通信時に、待機中ならただちに受け取ります。";
    order: "Order" / "指示";
    number: "No." / "番号";
    order_kind: "What" / "内容";
    target: "To" / "対象";
    release: "Release" / "リリース";
    progress: "Answered" / "応答";
    of: "{} of" / "{} /";
    given: "Given" / "発令";
    given_by: "By" / "発令者";
    kind_update: "update" / "更新";
    kind_report: "report inventory" / "構成の報告";
    kind_rotate: "rotate key" / "鍵の交代";
    kind_repair: "repair" / "修復";
    order_waiting: "waiting" / "待機中";
    order_sent: "sent" / "送信済み";
    order_done: "done" / "完了";
    order_refused_stale: "refused: stale" / "拒否:台帳が古い";
    order_refused_unproven: "refused: not proven" / "拒否:証明なし";
    order_failed: "failed" / "失敗";
    order_unable: "unable" / "実行不可";
    order_dropped: "dropped" / "取消";
    outcome: "Outcome" / "結果";
    order_log: "Log" / "ログ";
    order_log_of: "Log of order {}" / "指示 {} のログ";
    order_log_lead: "What the device's client logged when the order failed. It is the device's word: nobody signed it." / "指示が失敗したときに、機器のクライアントが記録した内容です。機器の申告であり、署名はありません。";

    // Components.
    nav_components: "Components" / "部品";
    components: "Components" / "部品";
    components_lead: "Which devices hold a component: by the inventory that each signed last, and by the bill of materials of the release that it runs." / "部品を持つ機器を、各機器が最後に署名した構成と、動作中のリリースの部品表から探します。";
    components_name_hint: "file, package; * at the end" / "ファイルやパッケージ。末尾に * も可";
    component_version: "Version" / "バージョン";
    component_purl: "Package URL" / "パッケージ URL";
    components_find: "Find" / "探す";
    components_start: "Say a name as inventories have it (openssl, /usr/bin/busybox, lib*), or a package URL as a bill of materials has it." / "構成にある名前(openssl、/usr/bin/busybox、lib*)か、部品表にあるパッケージ URL を入力してください。";
    components_none: "No device holds it." / "持っている機器はありません。";
    components_none_yet: "No device that this page looked at holds it." / "このページで調べた範囲には、持っている機器はありません。";
    components_holds: "Holds" / "部品";
    components_by: "By" / "根拠";
    components_by_inventory: "inventory, signed" / "署名された構成";
    components_by_release: "bill of materials of" / "リリースの部品表";
    components_more: "and {} more" / "ほか {} 件";
    components_unsearched: "The bills of materials of these releases could not be searched: they are not on this server, or none in CycloneDX (JSON)." / "次のリリースの部品表は調べられませんでした。このサーバーにないか、CycloneDX(JSON)ではありません。";

    // Rollouts.
    rollouts: "Rollouts" / "展開";
    rollouts_lead: "One release to many devices, in phases. Each stops by itself when too many devices fail." / "1 つのリリースを、段階を分けて多くの機器に届けます。失敗が多すぎると自動で止まります。";
    rollouts_none: "Nothing was rolled out yet." / "展開はまだありません。";
    rollouts_none_hint: "“Roll out” makes the first one, or “kusabi rollout new”." / "「展開する」または「kusabi rollout new」で最初の展開を作ります。";
    rollout: "Rollout" / "展開";
    new_rollout: "Roll out" / "展開する";
    new_rollout_lead: "One release to many devices. They are chosen when it begins, and stay the same." / "1 つのリリースを多くの機器に届けます。対象の機器は開始時に選ばれ、その後は変わりません。";
    new_whom: "To which devices" / "対象の機器";
    new_whom_hint: "All that is said must hold. Devices that another rollout has, or that run the release already, are skipped." / "指定した条件をすべて満たす機器が対象です。別の展開に参加中の機器や、すでに動作中の機器は対象外になります。";
    new_all: "Every device that the release is for" / "リリースの対象となる全機器";
    new_phases_hint: "A number of devices is 10%, 500 or rest; the last phase takes the rest, or the percentages make up a hundred. Nothing said: all at once. A limit of failures is 10% or 3." / "台数は 10%、500、rest(残りすべて)のように書きます。最後の段階は rest にするか、割合の合計を 100% にします。空のままなら一度に全機器が対象です。失敗の上限は 10% または 3 のように書きます。";
    new_phase_size: "Phase {}: devices" / "段階 {}:台数";
    new_phase_after: "after hours" / "時間の経過後";
    new_phase_hours: "Hours after the one before" / "前の段階からの時間";
    new_phase_success: "Succeeded before the next, %" / "次へ進む成功率(%)";
    new_more: "More" / "その他";
    new_start: "Begins at (UTC); at once when not said" / "開始日時(UTC)。空ならただちに開始";
    new_deadline: "Deadline for an answer, hours" / "応答の期限(時間)";
    new_rollout_begin: "Roll out" / "展開する";

    // Channels.
    channels: "Channels" / "チャネル";
    channels_lead: "The releases of each channel, and the counter that a release of it must have at least to be ordered." / "各チャネルのリリースと、指示に必要な最小カウンターです。";
    channels_none: "There is no release yet." / "リリースはまだありません。";
    channels_more: "Older releases are not shown here: kusabi release list has all of them." / "古いリリースはここに表示されません。「kusabi release list」ですべて見られます。";
    channel_minimum: "Lowest counter" / "最小カウンター";
    channel_set_to: "Set it to" / "設定する値";
    channel_set: "Set" / "設定";
    channel_no_releases: "No release of this channel is among the newest." / "新しいリリースの中に、このチャネルのものはありません。";
    release_counter: "Counter" / "カウンター";
    release_uploaded: "Uploaded" / "アップロード";
    release_published: "published" / "公開済み";
    release_withdrawn: "withdrawn" / "取り下げ済み";
    release_below: "below the lowest counter" / "最小カウンター未満";
    rollout_made: "Made" / "作成";
    rollout_began: "Began" / "開始";
    rollout_goes_on: "Goes on at" / "次に進む日時";
    rollout_ended: "Ended" / "終了";
    rollout_done: "Done" / "完了";
    rollout_total: "{} devices take part" / "対象 {} 台";
    rollout_silent: "{} devices have had an order for more than a day and have not answered. They are waited for." / "{} 台が指示から 1 日以上応答していません。応答を待っています。";
    rollout_phase: "Phase" / "段階";
    rollout_phases: "Phases" / "段階";
    rollout_phase_begun: "begun" / "開始済み";
    rollout_phase_now: "now" / "実行中";
    rollout_phase_later: "to come" / "これから";
    rollout_size: "Devices" / "台数";
    rollout_rest: "the rest" / "残りすべて";
    rollout_start: "Begins" / "開始条件";
    rollout_at_once: "at once" / "ただちに";
    rollout_after: "{} after the one before" / "前の段階の {} 後";
    rollout_by_hand: "by hand" / "手動";
    rollout_success: "Succeeded before the next" / "次へ進む成功率";
    rollout_failures: "Pauses above failures of" / "停止する失敗の上限";
    rollout_reason: "Reason" / "理由";
    rollout_since: "Since" / "変更日時";
    rollout_tries: "Tries" / "試行";
    rollout_no_devices: "No device is in this state." / "この状態の機器はありません。";
    rollout_all: "every device that the release is for" / "リリースの対象となる全機器";
    rollout_fixed: "Chosen when the rollout began; who comes later is not meant." / "開始時に選ばれた機器だけが対象です。後から加わった機器は含まれません。";
    rollout_retries: "Further tries" / "再試行の回数";
    rollout_force: "Forced" / "強制";
    rollout_force_text: "Devices that run the release already install it again." / "すでに動作中の機器でも入れ直します。";
    rollout_deadline: "Deadline for an answer" / "応答の期限";
    lasts_s: "{} sec" / "{} 秒";
    lasts_min: "{} min" / "{} 分";
    lasts_h: "{} hr" / "{} 時間";
    lasts_d: "{} days" / "{} 日";
    rollout_acts_none: "It is over: nothing can be done to it any more." / "終了しているため、操作できることはありません。";
    rollout_pause: "Pause" / "一時停止";
    rollout_pause_text: "No orders any more. Those that no device has fetched are taken back." / "以後の指示を止め、まだ機器が受け取っていない指示を取り消します。";
    rollout_resume: "Resume" / "再開";
    rollout_resume_text: "It goes on where it was held. Failures are counted anew." / "止めたところから続けます。失敗は数え直されます。";
    rollout_next: "Begin the next phase" / "次の段階を開始";
    rollout_next_text: "Now, however many devices have succeeded." / "成功した台数にかかわらず、今すぐ始めます。";
    rollout_abort: "Abort" / "中止";
    rollout_abort_text: "It ends for good. A device that has its order may still install the release; what it says of it is noted." / "展開を終わらせます。すでに指示を受け取った機器は導入することがあり、その結果は記録されます。";
    rollout_awaits_start: "It waits for its time. The devices are chosen then." / "開始日時を待っています。機器はその時に選ばれます。";
    rollout_awaits_devices: "It waits for devices to answer." / "機器の応答を待っています。";
    rollout_awaits_time: "It waits for the time of the next phase." / "次の段階の時刻を待っています。";
    rollout_awaits_hand: "Enough devices have succeeded. The next phase begins when you say so." / "十分な台数が成功しました。次の段階は手動で開始してください。";
    rollout_because_operator: "Someone paused it." / "手動で一時停止されました。";
    rollout_because_failures: "It paused by itself: more devices failed than the phase allows. Look at those that failed, then resume or abort it." / "失敗が上限を超えたため自動で停止しました。失敗した機器を確認し、再開または中止してください。";
    rollout_because_withdrawn: "It paused by itself: the release was withdrawn. No device installs it; abort the rollout." / "リリースが取り消されたため自動で停止しました。機器はこのリリースを導入しません。展開を中止してください。";
    rollout_because_untried: "It paused by itself: every device of this phase was skipped, so nobody has tried the release in it. Resume it to begin the next phase all the same, or abort it." / "この段階の機器がすべて対象外となり、リリースを試した機器がないため自動で停止しました。このまま次の段階を始めるには再開し、そうでなければ中止してください。";
    rollout_because_minimum: "It paused by itself: the channel's lowest counter is above the release's. Lower it, or abort the rollout." / "チャネルの最小カウンターがリリースの値を上回ったため自動で停止しました。最小値を下げるか、展開を中止してください。";
    rollout_scheduled: "scheduled" / "予約済み";
    rollout_running: "running" / "実行中";
    rollout_paused: "paused" / "一時停止中";
    rollout_over: "done" / "完了";
    rollout_aborted: "aborted" / "中止";
    member_waiting: "waiting" / "待機中";
    member_ordered: "ordered" / "指示済み";
    member_sent: "has the order" / "受領済み";
    member_done: "done" / "完了";
    member_failed: "failed" / "失敗";
    member_skipped: "skipped" / "対象外";
    member_aborted: "aborted" / "中止";
    why_failed: "tried, and failed" / "実行して失敗";
    why_stale: "refused: nothing shows the present" / "拒否:台帳の現在が不明";
    why_unproven: "refused: not proven" / "拒否:証明なし";
    why_unable: "cannot do it" / "実行不可";
    why_overdue: "no answer by the deadline" / "期限までに応答なし";
    why_current: "runs it already" / "すでに動作中";
    why_busy: "in another rollout" / "別の展開に参加中";
    why_quarantined: "in quarantine" / "隔離中";
    why_revoked: "key revoked" / "鍵が失効";
    why_moved: "another owner's" / "移管済み";

    // States.
    state_registered: "registered" / "登録済み";
    state_active: "active" / "稼働中";
    state_quarantined: "quarantined" / "隔離中";
    state_revoked: "revoked" / "失効";
    state_moved: "another owner's" / "移管済み";
    freshness: "Present" / "台帳の現在";
    freshness_unknown: "not said yet" / "未報告";
    freshness_shown: "shown since its start" / "起動後に確認済み";
    freshness_stale: "not shown: it installs nothing" / "確認できず: 導入を保留中";
    inventory_unknown: "unknown" / "不明";
    inventory_expected: "as expected" / "一致";
    inventory_differs: "differs" / "相違あり";

    // The audit log.
    audit: "Audit log" / "監査記録";
    audit_lead: "Who did what, the newest first. Each entry's hash covers the entry and all before it." / "誰が何をしたかを新しい順に示します。各項目のハッシュは、その項目とそれ以前のすべてを含みます。";
    audit_head: "Hash of the newest entry" / "最新項目のハッシュ";
    audit_none: "The log is empty." / "記録はまだありません。";
    actor: "Who" / "誰が";
    act: "Did what" / "何を";
    subject: "To what" / "対象";
    hash: "Hash" / "ハッシュ";
    actor_server: "this server" / "このサーバー";

    // The account.
    account: "Account" / "アカウント";
    signed_in_as: "Signed in as" / "ログイン中";
    role: "Role" / "役割";
    role_viewer: "viewer" / "閲覧者";
    role_operator: "operator" / "運用者";
    role_admin: "admin" / "管理者";
    role_viewer_text: "reads" / "閲覧できます";
    role_operator_text: "runs the fleet: orders, answers alarms" / "機器を運用できます(指示、警報の確認)";
    role_admin_text: "also decides who may do what" / "加えて、誰が何をできるかを決められます";
    sessions: "Sessions with this token" / "このトークンのセッション";
    session: "Session" / "セッション";
    session_this: "this one" / "現在";
    session_since: "Since" / "開始";
    session_until: "Ends" / "終了予定";
    session_end: "End" / "終了する";
    sessions_end: "End all, here too" / "すべて終了(現在も含む)";

    // Errors.
    error: "Error" / "エラー";
    error_unknown: "There is nothing at this address" / "このアドレスには何もありません";
    error_unknown_hint: "It may have been mistyped, or what it showed is gone." / "入力の誤りか、対象がなくなった可能性があります。";
    error_forbidden: "Your role does not allow this" / "この操作は許可されていません";
    error_forbidden_hint: "Nothing was changed. Ask an admin of this server for a token with a higher role." / "何も変更されていません。上位の役割のトークンを管理者に依頼してください。";
    error_form: "This form was not accepted" / "フォームを受け付けませんでした";
    error_form_hint: "Nothing was changed. Go back, load the page anew and send the form again." / "何も変更されていません。前のページを読み込み直し、もう一度送信してください。";
    error_request: "The request cannot be carried out" / "要求を実行できません";
    error_request_hint: "Nothing was changed. What is wrong with it stands below." / "何も変更されていません。理由は以下のとおりです。";
    error_conflict: "Something is in the way" / "すでに行われているか、競合しています";
    error_conflict_hint: "Nothing was changed by this request." / "この要求では何も変更されていません。";
    error_ledger: "The ledger gives no acceptable answer" / "台帳から受け入れられる答えがありません";
    error_ledger_hint: "This server shows only what is proven, so it shows nothing now. Look at the ledger node, then try again." / "証明されたものだけを表示するため、今は何も表示できません。台帳ノードを確認し、もう一度お試しください。";
    error_busy: "Too much at once" / "混み合っています";
    error_busy_hint: "Nothing was changed. Try again in a moment." / "何も変更されていません。少し待ってからお試しください。";
    error_internal: "The server failed" / "サーバーで障害が起きました";
    error_internal_hint: "It was not your fault. The server's log says why." / "操作の誤りではありません。原因はサーバーのログに残っています。";

    // Words.
    words: "Words" / "用語";
    words_lead: "The words on these pages, each in a few sentences. They are the same in the command, the API and the specification." / "この画面で使う言葉の説明です。コマンド、API、仕様書でも同じ言葉を使います。";
    words_identity: "Keys and names" / "鍵と名前";
    words_ledger: "Ledger and proofs" / "台帳と証明";
    words_people: "Who may do what" / "権限を持つ者";
    words_fleet: "Fleet" / "機器の運用";
    word_id: "kusabi-ID" / "kusabi-ID";
    word_id_text: "Sixteen random bytes that stand for a key pair. Whoever knows it can check that a record is really its own. It is a secret: it stands in no URL, no log and on no page." / "鍵の組を表す 16 バイトの乱数です。知っている者は、記録が本当にその鍵のものかを確かめられます。秘密の値であり、URL、ログ、画面には現れません。";
    word_handle: "Handle" / "ハンドル";
    word_handle_text: "The hash of a kusabi-ID. Lookups, tables and pages use it; nobody can find the ID from it." / "kusabi-ID のハッシュです。検索、表、画面ではこちらを使います。ハンドルから ID を求めることはできません。";
    word_pre: "Factory key" / "工場鍵";
    word_pre_text: "The key that a device leaves its build environment with (purpose pre). It is good for one thing: to activate the device. Then it is spent, and the device wipes it." / "機器が製造時に受け取る鍵です(用途 pre)。使い道は機器の有効化だけで、済めば使用済みとなり、機器から消されます。";
    word_act: "Device key" / "デバイス鍵";
    word_act_text: "The key that a device works with from its activation on (purpose act). The device makes it itself; it authenticates every session and signs every inventory." / "有効化のあと機器が使い続ける鍵です(用途 act)。機器が自分で作り、すべての通信の認証と構成への署名に使います。";
    word_art: "Release key" / "リリース鍵";
    word_art_text: "A key that signs firmware releases (purpose art). The organisation says how many of them must sign; devices install nothing else." / "ファームウェアのリリースに署名する鍵です(用途 art)。何本の署名が必要かは組織が決め、機器はそれ以外を導入しません。";
    word_ledger: "Ledger" / "台帳";
    word_ledger_text: "The list of all keys and releases, kept by validators of several organisations together. Nothing on it can be changed in secret, and nothing on it expires." / "すべての鍵とリリースを記録した台帳で、複数の組織の検証者が共同で維持します。密かに変えることはできず、期限切れもありません。";
    word_height: "Height" / "高さ";
    word_height_text: "The number of a block of the ledger. It takes the place of the clock: newer is higher." / "台帳のブロック番号です。時計の代わりになり、大きいほど新しいことを示します。";
    word_quorum: "Quorum signature" / "クォーラム署名";
    word_quorum_text: "The signatures of more than two thirds of the validators over one block. With one validator it is one key on one machine." / "1 つのブロックに対する、検証者の 3 分の 2 を超える署名です。検証者が 1 つの場合は、1 台の機械にある 1 本の鍵です。";
    word_checkpoint: "Checkpoint" / "チェックポイント";
    word_checkpoint_text: "A block's header with its quorum signature: what a proof is checked against." / "クォーラム署名の付いたブロックヘッダーです。証明はこれに照らして確かめられます。";
    word_proof: "Proof" / "証明";
    word_proof_text: "A checkpoint and the path from it to one record, about a kilobyte. It shows that the record stands on the ledger so and not otherwise, or that there is none." / "チェックポイントと、そこから 1 つの記録までの経路で、約 1 キロバイトです。記録がその内容で存在すること、または存在しないことを示します。";
    word_anchor: "Anchor" / "アンカー";
    word_anchor_text: "What a device keeps to check proofs: the epoch, the validators that it names, and the floor." / "機器が証明を確かめるために保持するもので、エポック、その検証者、フロアからなります。";
    word_floor: "Floor" / "フロア";
    word_floor_text: "The highest height that a device has verified. It accepts nothing from below: no one can take it back to an old state." / "機器が検証した最も大きい高さです。それより下のものは受け入れないため、古い状態に引き戻されることはありません。";
    word_writer: "Writer" / "登録者(ライター)";
    word_writer_text: "A key that may register new keys for its organisation." / "組織のために新しい鍵を登録できる鍵です。";
    word_officer: "Officer" / "責任者(オフィサー)";
    word_officer_text: "A key, best kept offline, that decides who may write, revoke and sign releases for its organisation. Several may have to sign together." / "誰が登録、失効、リリース署名を行えるかを決める鍵です。オフラインでの保管が望まれ、複数の署名が必要な場合もあります。";
    word_order: "Order" / "指示";
    word_order_text: "What a device is told to do: update, repair, report its inventory, rotate its key. The device carries it out only after its own checks." / "機器への指示です(更新、修復、構成の報告、鍵の交代)。機器は自分で検証したうえで実行します。";
    word_rollout: "Rollout" / "展開";
    word_rollout_text: "One release to many devices, in phases. The devices are chosen when it begins; the next phase begins when enough of them have succeeded; it pauses when too many fail." / "1 つのリリースを段階的に多くの機器へ届けることです。機器は開始時に選ばれ、十分な台数が成功すると次の段階に進み、失敗が多すぎると停止します。";
    word_inventory: "Inventory" / "構成";
    word_inventory_text: "The list of a device's software with digests, signed with its device key. It is compared with what the release says should be there." / "機器のソフトウェアとダイジェストの一覧で、デバイス鍵で署名されています。リリースが定める内容と比べられます。";
    word_quarantine: "Quarantine" / "隔離";
    word_quarantine_text: "The state of a device whose key was seen in two places. It gets no orders but repair and rotate until it is readmitted." / "同じ鍵が 2 か所で見つかった機器の状態です。復帰するまで、修復と鍵の交代以外の指示は出されません。";
}

impl Texts {
    /// A device's state.
    pub(crate) fn state(&self, state: DeviceState) -> &'static str {
        match state {
            DeviceState::Registered => self.state_registered,
            DeviceState::Active => self.state_active,
            DeviceState::Quarantined => self.state_quarantined,
            DeviceState::Revoked => self.state_revoked,
            DeviceState::Moved => self.state_moved,
            other => other.name(),
        }
    }

    /// What an inventory says.
    pub(crate) fn freshness(&self, freshness: Freshness) -> &'static str {
        match freshness {
            Freshness::Shown => self.freshness_shown,
            Freshness::Stale => self.freshness_stale,
            _ => self.freshness_unknown,
        }
    }

    pub(crate) fn inventory(&self, inventory: Inventory) -> &'static str {
        match inventory {
            Inventory::Unknown => self.inventory_unknown,
            Inventory::Expected => self.inventory_expected,
            Inventory::Differs => self.inventory_differs,
            other => other.name(),
        }
    }

    /// What an order asks for.
    pub(crate) fn order(&self, kind: OrderKind) -> &'static str {
        match kind {
            OrderKind::Update => self.kind_update,
            OrderKind::Report => self.kind_report,
            OrderKind::Rotate => self.kind_rotate,
            OrderKind::Repair => self.kind_repair,
            other => other.name(),
        }
    }

    /// How far an order is with one device.
    pub(crate) fn outcome(&self, state: OrderState) -> &'static str {
        match state {
            OrderState::Waiting => self.order_waiting,
            OrderState::Sent => self.order_sent,
            OrderState::Done => self.order_done,
            OrderState::RefusedStale => self.order_refused_stale,
            OrderState::RefusedUnproven => self.order_refused_unproven,
            OrderState::Failed => self.order_failed,
            OrderState::Unable => self.order_unable,
            OrderState::Dropped => self.order_dropped,
            other => other.name(),
        }
    }

    /// Where a rollout stands.
    pub(crate) fn rollout_state(&self, state: RolloutState) -> &'static str {
        match state {
            RolloutState::Scheduled => self.rollout_scheduled,
            RolloutState::Running => self.rollout_running,
            RolloutState::Paused => self.rollout_paused,
            RolloutState::Done => self.rollout_over,
            RolloutState::Aborted => self.rollout_aborted,
            other => other.name(),
        }
    }

    /// Why a rollout is held.
    pub(crate) fn rollout_because(&self, reason: RolloutReason) -> &'static str {
        match reason {
            RolloutReason::Operator => self.rollout_because_operator,
            RolloutReason::Failures => self.rollout_because_failures,
            RolloutReason::Withdrawn => self.rollout_because_withdrawn,
            RolloutReason::ChannelMinimum => self.rollout_because_minimum,
            RolloutReason::Untried => self.rollout_because_untried,
            other => other.name(),
        }
    }

    /// How far a device is in a rollout.
    pub(crate) fn rollout_device(&self, state: RolloutDeviceState) -> &'static str {
        match state {
            RolloutDeviceState::Waiting => self.member_waiting,
            RolloutDeviceState::Ordered => self.member_ordered,
            RolloutDeviceState::Sent => self.member_sent,
            RolloutDeviceState::Done => self.member_done,
            RolloutDeviceState::Failed => self.member_failed,
            RolloutDeviceState::Skipped => self.member_skipped,
            RolloutDeviceState::Aborted => self.member_aborted,
            other => other.name(),
        }
    }

    /// Why a device failed or was skipped.
    pub(crate) fn rollout_device_reason(&self, reason: RolloutDeviceReason) -> &'static str {
        match reason {
            RolloutDeviceReason::Failed => self.why_failed,
            RolloutDeviceReason::RefusedStale => self.why_stale,
            RolloutDeviceReason::RefusedUnproven => self.why_unproven,
            RolloutDeviceReason::Unable => self.why_unable,
            RolloutDeviceReason::Overdue => self.why_overdue,
            RolloutDeviceReason::Current => self.why_current,
            RolloutDeviceReason::Busy => self.why_busy,
            RolloutDeviceReason::Quarantined => self.why_quarantined,
            RolloutDeviceReason::Revoked => self.why_revoked,
            RolloutDeviceReason::Moved => self.why_moved,
            other => other.name(),
        }
    }

    /// What happened to a device.
    pub(crate) fn auth_set(&self, state: AuthSetState) -> &'static str {
        match state {
            AuthSetState::Pending => self.auth_pending,
            AuthSetState::Preauthorized => self.auth_preauthorized,
            AuthSetState::Accepted => self.auth_accepted,
            AuthSetState::Rejected => self.auth_rejected,
            other => other.name(),
        }
    }

    pub(crate) fn event(&self, kind: EventKind) -> &'static str {
        match kind {
            EventKind::Known => self.event_known,
            EventKind::Activated => self.event_activated,
            EventKind::Rotated => self.event_rotated,
            EventKind::Revoked => self.event_revoked,
            EventKind::GivenAway => self.event_given_away,
            EventKind::Taken => self.event_taken,
            EventKind::Enrolled => self.event_enrolled,
            EventKind::Accepted => self.event_accepted,
            EventKind::Rejected => self.event_rejected,
            EventKind::OrderGiven => self.event_order_given,
            EventKind::OrderSent => self.event_order_sent,
            EventKind::OrderAnswered => self.event_order_answered,
            EventKind::Firmware => self.event_firmware,
            EventKind::Reported => self.event_reported,
            EventKind::InventoryChanged => self.event_inventory_changed,
            EventKind::Alarm => self.event_alarm,
            EventKind::Quarantined => self.event_quarantined,
            EventKind::Readmitted => self.event_readmitted,
            other => other.name(),
        }
    }

    /// What an alarm is about, and what to do then.
    pub(crate) fn alarm(&self, kind: AlarmKind) -> (&'static str, &'static str) {
        match kind {
            AlarmKind::Fork => (self.alarm_fork, self.alarm_fork_now),
            AlarmKind::UnknownHead => (self.alarm_unknown_head, self.alarm_unknown_head_now),
            AlarmKind::Inventory => (self.alarm_inventory, self.alarm_inventory_now),
            AlarmKind::NoInventory => (self.alarm_no_inventory, self.alarm_no_inventory_now),
            AlarmKind::Stale => (self.alarm_stale, self.alarm_stale_now),
            AlarmKind::Order => (self.alarm_order, self.alarm_order_now),
            other => (other.name(), ""),
        }
    }

    /// A role, and what it may do.
    pub(crate) fn role(&self, role: Role) -> (&'static str, &'static str) {
        match role {
            Role::Viewer => (self.role_viewer, self.role_viewer_text),
            Role::Operator => (self.role_operator, self.role_operator_text),
            Role::Admin => (self.role_admin, self.role_admin_text),
            other => (other.name(), ""),
        }
    }

    /// A key's purpose, by the word of the ledger.
    pub(crate) fn purpose<'p>(&self, purpose: &'p str) -> &'p str {
        match purpose {
            "pre" => self.purpose_pre,
            "act" => self.purpose_act,
            "art" => self.purpose_art,
            "ps" => self.purpose_ps,
            "writer" => self.purpose_writer,
            "officer" => self.purpose_officer,
            "revoker" => self.purpose_revoker,
            "app" => self.purpose_app,
            other => other,
        }
    }

    /// A key's status, by the word of the ledger.
    pub(crate) fn status<'s>(&self, status: &'s str) -> &'s str {
        match status {
            "active" => self.status_active,
            "spent" => self.status_spent,
            "superseded" => self.status_superseded,
            "revoked" => self.status_revoked,
            other => other,
        }
    }

    /// Why a key was revoked, by the word of the ledger.
    pub(crate) fn reason<'r>(&self, reason: &'r str) -> &'r str {
        match reason {
            "compromised" => self.reason_compromised,
            "lost" => self.reason_lost,
            "retired" => self.reason_retired,
            "withdrawn" => self.reason_withdrawn,
            other => other,
        }
    }

    /// What went wrong, and what to do.
    pub(crate) fn problem(&self, kind: Kind) -> (&'static str, &'static str) {
        match kind {
            Kind::Unauthenticated => (self.sign_in, self.sign_in_first),
            Kind::Forbidden => (self.error_forbidden, self.error_forbidden_hint),
            Kind::Unknown => (self.error_unknown, self.error_unknown_hint),
            Kind::Conflict | Kind::Exists | Kind::AlreadyDone | Kind::KeyReused => {
                (self.error_conflict, self.error_conflict_hint)
            }
            Kind::BadAnswer | Kind::Unreachable | Kind::Behind | Kind::Unvouched => {
                (self.error_ledger, self.error_ledger_hint)
            }
            Kind::TooManyRequests | Kind::PoolFull | Kind::Stopping | Kind::Lagging => {
                (self.error_busy, self.error_busy_hint)
            }
            Kind::Internal | Kind::FirmwareStore => (self.error_internal, self.error_internal_hint),
            _ => (self.error_request, self.error_request_hint),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_there_in_every_language() {
        for (name, en, ja) in ALL {
            for text in [en, ja] {
                assert!(!text.is_empty() && text.trim() == *text, "{name}: {text:?}");
            }
            assert_eq!(en.matches("{}").count(), ja.matches("{}").count(), "{name}");
            assert!(en.matches("{}").count() <= 1, "{name}");
            // What is no word of ours may be the same in both; a sentence may not.
            let japanese = ja.chars().any(|c| ('\u{3040}'..='\u{9FFF}').contains(&c));
            assert!(
                japanese || !en.contains(' ') || en == &"{} of",
                "{name}: {ja}"
            );
        }
    }

    #[test]
    fn every_text_is_used() {
        const SOURCES: &[&str] = &[
            include_str!("texts.rs"),
            include_str!("mod.rs"),
            include_str!("account.html"),
            include_str!("act.html"),
            include_str!("act.rs"),
            include_str!("alarms.html"),
            include_str!("audit_log.html"),
            include_str!("channels.html"),
            include_str!("components.html"),
            include_str!("device.html"),
            include_str!("devices.html"),
            include_str!("devices.rs"),
            include_str!("first_admin.html"),
            include_str!("key.html"),
            include_str!("key.rs"),
            include_str!("layout.html"),
            include_str!("mender.html"),
            include_str!("new_rollout.html"),
            include_str!("new_rollout.rs"),
            include_str!("order_log.html"),
            include_str!("order_log.rs"),
            include_str!("orders.html"),
            include_str!("parts.rs"),
            include_str!("parts/pager.html"),
            include_str!("problem.html"),
            include_str!("rollout.html"),
            include_str!("rollouts.html"),
            include_str!("rollouts.rs"),
            include_str!("../http/console/channels.rs"),
            include_str!("../http/console/components.rs"),
            include_str!("../http/console/orders.rs"),
            include_str!("../http/console/rollouts.rs"),
            include_str!("sign_in.html"),
            include_str!("time.rs"),
            include_str!("words.html"),
            include_str!("words.rs"),
            include_str!("../http/console/device.rs"),
            include_str!("../http/console/key.rs"),
            include_str!("../http/console/problem.rs"),
            include_str!("../http/console/sign_in.rs"),
        ];
        for (name, ..) in ALL {
            let used = SOURCES.iter().any(|source| {
                source
                    .match_indices(&format!(".{name}"))
                    .any(|(at, found)| {
                        let after = source[at + found.len()..].chars().next();
                        after.is_none_or(|c| !c.is_alphanumeric() && c != '_')
                    })
            });
            assert!(used, "nothing shows `{name}`");
        }
    }

    #[test]
    fn every_word_of_the_api_has_its_texts() {
        for t in [&EN, &JA] {
            let words = [
                distinct(DeviceState::ALL.iter().map(|one| t.state(*one))),
                distinct(Inventory::ALL.iter().map(|one| t.inventory(*one))),
                distinct(Freshness::ALL.iter().map(|one| t.freshness(*one))),
                distinct(OrderKind::ALL.iter().map(|one| t.order(*one))),
                distinct(OrderState::ALL.iter().map(|one| t.outcome(*one))),
                distinct(EventKind::ALL.iter().map(|one| t.event(*one))),
                distinct(AuthSetState::ALL.iter().map(|one| t.auth_set(*one))),
                distinct(AlarmKind::ALL.iter().map(|one| t.alarm(*one).0)),
                distinct(Role::ALL.iter().map(|one| t.role(*one).0)),
                distinct(RolloutState::ALL.iter().map(|one| t.rollout_state(*one))),
                distinct(RolloutReason::ALL.iter().map(|one| t.rollout_because(*one))),
                distinct(
                    RolloutDeviceState::ALL
                        .iter()
                        .map(|one| t.rollout_device(*one)),
                ),
                distinct(
                    RolloutDeviceReason::ALL
                        .iter()
                        .map(|one| t.rollout_device_reason(*one)),
                ),
            ];
            assert!(words.iter().all(|distinct| *distinct), "{words:?}");
            assert!(AlarmKind::ALL.iter().all(|one| !t.alarm(*one).1.is_empty()));
            assert!(Role::ALL.iter().all(|one| !t.role(*one).1.is_empty()));
        }
        // A word that only the API knows would stand on a Japanese page as it is.
        let ja = |text: &str| !text.is_ascii();
        assert!(DeviceState::ALL.iter().all(|one| ja(JA.state(*one))));
        assert!(Inventory::ALL.iter().all(|one| ja(JA.inventory(*one))));
        assert!(Freshness::ALL.iter().all(|one| ja(JA.freshness(*one))));
        assert!(OrderKind::ALL.iter().all(|one| ja(JA.order(*one))));
        assert!(OrderState::ALL.iter().all(|one| ja(JA.outcome(*one))));
        assert!(EventKind::ALL.iter().all(|one| ja(JA.event(*one))));
        assert!(AlarmKind::ALL.iter().all(|one| ja(JA.alarm(*one).0)));
        assert!(Role::ALL.iter().all(|one| ja(JA.role(*one).0)));
        assert!(
            RolloutState::ALL
                .iter()
                .all(|one| ja(JA.rollout_state(*one)))
        );
        assert!(
            RolloutReason::ALL
                .iter()
                .all(|one| ja(JA.rollout_because(*one)))
        );
        assert!(
            RolloutDeviceState::ALL
                .iter()
                .all(|one| ja(JA.rollout_device(*one)))
        );
        assert!(
            RolloutDeviceReason::ALL
                .iter()
                .all(|one| ja(JA.rollout_device_reason(*one)))
        );
    }

    fn distinct<'t>(texts: impl Iterator<Item = &'t str>) -> bool {
        let mut all: Vec<_> = texts.collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        all.len() == count
    }
}
