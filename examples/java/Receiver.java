import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.security.MessageDigest;
import java.time.DateTimeException;
import java.time.LocalDateTime;
import java.time.format.DateTimeFormatter;
import java.time.format.ResolverStyle;
import java.util.*;
import java.util.concurrent.Executors;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

/**
 * A channel's receiver for the sign-flow callback, in plain Java (17 or later, nothing to install).
 *
 * <pre>PORT=8090 DATA=received SECRET=whsec_... java Receiver.java</pre>
 *
 * SECRET may be left out, or hold two secrets separated by a space while one is being rotated.
 * Put what your channel does with a callback into handle(). docs/channels.md explains every step.
 */
public class Receiver {
    static final int MAX_BODY = 64 * 1024, MAX_NESTING = 64, TOLERANCE_SECONDS = 300;
    static final Map<String, Integer> LIMITS = new LinkedHashMap<>();
    static final List<byte[]> SECRETS = new ArrayList<>();
    static final Path FOLDER = Path.of(System.getenv().getOrDefault("DATA", "received"));

    /** Yours to fill in. Runs once per flow; runs again only if it threw or the process died inside it. */
    static void handle(Map<String, String> callback) {
        System.out.println("ended: " + callback.get("sign_flow_id") + " as " + callback.get("sign_flow_status"));
    }

    /** The request is answered with this code, which is also the HTTP status. */
    static class Refused extends RuntimeException {
        final int code;

        Refused(int code) {
            super(String.valueOf(code));
            this.code = code;
        }
    }

    /** The four members, or Refused(400). */
    static Map<String, String> parse(byte[] body) {
        try {
            String text = StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(body)).toString();
            Map<String, Object> members = new Json(text).object();
            Map<String, String> callback = new LinkedHashMap<>();
            for (var limit : LIMITS.entrySet()) {
                if (!(members.get(limit.getKey()) instanceof String member)) throw new Refused(400);
                int characters = member.codePointCount(0, member.length()); // neither bytes nor UTF-16 units
                if (characters < 1 || characters > limit.getValue()) throw new Refused(400);
                callback.put(limit.getKey(), member);
            }
            if (!Set.of("2", "3", "5", "7").contains(callback.get("sign_flow_status"))) throw new Refused(400);
            String time = callback.get("sign_end_time");
            if (!time.matches("[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}") || time.startsWith("0000")) {
                throw new Refused(400);
            }
            var form = DateTimeFormatter.ofPattern("uuuu-MM-dd HH:mm:ss").withResolverStyle(ResolverStyle.STRICT);
            LocalDateTime.parse(time, form);
            return callback;
        } catch (CharacterCodingException | DateTimeException error) {
            throw new Refused(400);
        }
    }

    /** Standard Webhooks: HMAC-SHA256 over id.timestamp.body. Does nothing when no secret is set. */
    static void checkSignature(HttpExchange exchange, byte[] body) throws Exception {
        if (SECRETS.isEmpty()) return;
        String id = header(exchange, "webhook-id"), sent = header(exchange, "webhook-timestamp");
        if (id.isEmpty() || id.contains(".") || !sent.matches("[0-9]{1,15}")) throw new Refused(401);
        long age = System.currentTimeMillis() / 1000 - Long.parseLong(sent);
        if (Math.abs(age) > TOLERANCE_SECONDS) throw new Refused(401);
        for (byte[] secret : SECRETS) {
            Mac mac = Mac.getInstance("HmacSHA256");
            mac.init(new SecretKeySpec(secret, "HmacSHA256"));
            mac.update((id + "." + sent + ".").getBytes(StandardCharsets.UTF_8));
            String expected = "v1," + Base64.getEncoder().encodeToString(mac.doFinal(body));
            for (String given : header(exchange, "webhook-signature").split(" ")) {
                if (MessageDigest.isEqual(given.getBytes(StandardCharsets.UTF_8), expected.getBytes())) return;
            }
        }
        throw new Refused(401);
    }

    static String header(HttpExchange exchange, String name) {
        return Objects.requireNonNullElse(exchange.getRequestHeaders().getFirst(name), "");
    }

    /** One file per flow, named by a digest of its id, since an id may hold any characters. */
    static Path fileOf(String id) throws Exception {
        byte[] digest = MessageDigest.getInstance("SHA-256").digest(id.getBytes(StandardCharsets.UTF_8));
        return FOLDER.resolve(HexFormat.of().formatHex(digest) + ".json");
    }

    /** Writes a file whole and synced, unless there is one: returns false then. */
    static boolean writeOnce(Path file, String text) throws IOException {
        Path unfinished = Files.createTempFile(FOLDER, "", ".part");
        try (var out = FileChannel.open(unfinished, StandardOpenOption.WRITE)) {
            out.write(ByteBuffer.wrap(text.getBytes(StandardCharsets.UTF_8)));
            out.force(true);
        }
        try {
            Files.createLink(file, unfinished); // all or nothing, and never over another file
        } catch (FileAlreadyExistsException exists) {
            return false;
        } finally {
            Files.delete(unfinished);
        }
        try (var directory = FileChannel.open(FOLDER, StandardOpenOption.READ)) {
            directory.force(true);
        }
        return true;
    }

    /** One at a time, so that of two copies at once the second finds what the first has done. */
    static synchronized void keepAndHandle(Map<String, String> callback) throws Exception {
        Path file = fileOf(callback.get("sign_flow_id"));
        StringJoiner members = new StringJoiner(",", "{", "}");
        callback.forEach((name, value) -> members.add(Json.quote(name) + ":" + Json.quote(value)));
        if (!writeOnce(file, members.toString())) {
            String kept = Files.readString(file);
            if (!kept.equals(members.toString())) {
                System.err.println("another end for a flow that has ended: " + members + " kept: " + kept);
                throw new Refused(409);
            }
        }
        Path handled = file.resolveSibling(file.getFileName() + ".handled");
        if (Files.exists(handled)) return;
        handle(callback);
        writeOnce(handled, "");
    }

    static void receive(HttpExchange exchange) throws IOException {
        int status = 200;
        String code = "000";
        try {
            if (!exchange.getRequestMethod().equals("POST")) throw new Refused(405);
            byte[] body = exchange.getRequestBody().readNBytes(MAX_BODY + 1);
            if (body.length > MAX_BODY) {
                exchange.getRequestBody().readNBytes(1024 * 1024); // so that the client gets to read the answer
                throw new Refused(413);
            }
            checkSignature(exchange, body);
            String type = header(exchange, "content-type");
            if (!type.isEmpty() && !type.matches("(?i)application/([^;]+\\+)?json *(;.*)?")) throw new Refused(400);
            keepAndHandle(parse(body));
        } catch (Refused refused) {
            status = refused.code;
            code = String.valueOf(status);
        } catch (Exception error) {
            System.err.println("not handled: " + error); // the platform will send it again
            status = 500;
            code = "500";
        }
        byte[] answer = ("{\"response_code\":\"" + code + "\"}").getBytes(StandardCharsets.UTF_8);
        exchange.getResponseHeaders().set("content-type", "application/json; charset=utf-8");
        exchange.sendResponseHeaders(status, answer.length);
        exchange.getResponseBody().write(answer);
        exchange.close();
    }

    public static void main(String[] arguments) throws Exception {
        System.setProperty("sun.net.httpserver.maxReqTime", "10"); // a client that stalls is let go
        for (String name : List.of("sign_end_time", "sign_flow_status", "sign_flow_id")) LIMITS.put(name, 32);
        LIMITS.put("sign_file_url", 128);
        for (String secret : System.getenv().getOrDefault("SECRET", "").split(" ")) {
            if (!secret.isEmpty()) SECRETS.add(Base64.getDecoder().decode(secret.replaceFirst("^whsec_", "")));
        }
        boolean lengths = SECRETS.stream().allMatch(secret -> secret.length >= 24 && secret.length <= 64);
        if (System.getenv("SECRET") != null && (SECRETS.isEmpty() || !lengths)) {
            throw new IllegalArgumentException("SECRET is set, but holds no secret"); // rather than going without
        }
        Files.createDirectories(FOLDER);
        try (var files = Files.newDirectoryStream(FOLDER, "*.json")) {
            for (Path file : files) {
                try {
                    keepAndHandle(parse(Files.readAllBytes(file))); // what a crash has left
                } catch (Exception error) {
                    System.err.println("not handled: " + error);
                }
            }
        }
        int port = Integer.parseInt(System.getenv().getOrDefault("PORT", "8090"));
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", port), 0);
        server.createContext("/callback", Receiver::receive);
        server.setExecutor(Executors.newCachedThreadPool());
        server.start();
        System.out.println("listening on http://127.0.0.1:" + server.getAddress().getPort() + "/callback");
    }

    /** Strict JSON (Java's library has none): each member once, nesting bounded. Values but strings are only checked. */
    static class Json {
        private final String text;
        private int at = 0, level = 0;

        Json(String text) {
            this.text = text;
        }

        /** The text as one object, and nothing after it. */
        Map<String, Object> object() {
            blanks();
            Map<String, Object> members = members();
            blanks();
            if (at < text.length()) throw new Refused(400);
            return members;
        }

        private Map<String, Object> members() {
            Map<String, Object> members = new HashMap<>();
            sequence('{', '}', () -> {
                String name = string();
                blanks();
                expect(':');
                blanks();
                if (members.put(name, value()) != null) throw new Refused(400);
            });
            return members;
        }

        private void sequence(char open, char close, Runnable item) {
            expect(open);
            if (++level > MAX_NESTING) throw new Refused(400);
            blanks();
            if (peek() != close) {
                item.run();
                for (blanks(); peek() == ','; blanks()) {
                    at++;
                    blanks();
                    item.run();
                }
            }
            expect(close);
            level--;
        }

        private Object value() {
            switch (peek()) {
                case '"':
                    return string();
                case '{':
                    return members();
                case '[':
                    sequence('[', ']', this::value);
                    return Boolean.TRUE;
                default:
                    var scalar = java.util.regex.Pattern.compile(
                            "true|false|null|-?(0|[1-9][0-9]*)([.][0-9]+)?([eE][+-]?[0-9]+)?");
                    var matcher = scalar.matcher(text).region(at, text.length());
                    if (!matcher.lookingAt()) throw new Refused(400);
                    at = matcher.end();
                    return Boolean.TRUE;
            }
        }

        private String string() {
            expect('"');
            StringBuilder out = new StringBuilder();
            for (char next = take(); next != '"'; next = take()) {
                if (next < ' ') throw new Refused(400);
                out.append(next == '\\' ? escape() : next);
            }
            // Half a surrogate pair has no UTF-8.
            if (!StandardCharsets.UTF_8.newEncoder().canEncode(out)) throw new Refused(400);
            return out.toString();
        }

        private char escape() {
            char next = take();
            if (next == 'u') {
                if (at + 4 > text.length() || !text.substring(at, at + 4).matches("[0-9a-fA-F]{4}")) throw new Refused(400);
                at += 4;
                return (char) Integer.parseInt(text.substring(at - 4, at), 16);
            }
            int index = "\"\\/bfnrt".indexOf(next);
            if (index < 0) throw new Refused(400);
            return "\"\\/\b\f\n\r\t".charAt(index);
        }

        private char peek() {
            if (at >= text.length()) throw new Refused(400);
            return text.charAt(at);
        }

        private char take() {
            char next = peek();
            at++;
            return next;
        }

        private void expect(char wanted) {
            if (take() != wanted) throw new Refused(400);
        }

        private void blanks() {
            while (at < text.length() && " \t\r\n".indexOf(text.charAt(at)) >= 0) at++;
        }

        static String quote(String text) {
            StringBuilder out = new StringBuilder("\"");
            for (char next : text.toCharArray()) {
                if (next == '"' || next == '\\') out.append('\\').append(next);
                else if (next < ' ') out.append(String.format("\\u%04x", (int) next));
                else out.append(next);
            }
            return out.append('"').toString();
        }
    }
}
