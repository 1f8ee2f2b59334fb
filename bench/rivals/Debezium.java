import io.debezium.embedded.Connect;
import io.debezium.engine.ChangeEvent;
import io.debezium.engine.DebeziumEngine;
import io.debezium.engine.RecordChangeEvent;
import io.debezium.engine.format.ChangeEventFormat;
import io.debezium.engine.format.Json;
import java.io.IOException;
import java.io.ObjectOutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.Executors;
import org.apache.kafka.connect.data.Struct;
import org.apache.kafka.connect.source.SourceRecord;

/**
 * Debezium's engine with its MySQL connector, embedded as its documentation shows. It takes inserts of
 * shop.Sales from a place in the binlog on, or the rows that are there, and does nothing with them but count.
 *
 * <p>Usage: Debezium.java records|json|markers PORT FILE:POSITION:GTIDS|latest|snapshot ROWS FOLDER [SETTING=VALUE ...]
 *
 * <p>It prints "first" when the first row arrives and "rows N" at the end, which is after so many rows or
 * when standard input ends. With "markers" it prints the column Referral of each row, and the time in
 * microseconds at which the row was here.
 */
class Debezium {
    private static long rows;
    private static long expected;

    public static void main(String[] arguments) throws Exception {
        String format = arguments[0];
        String start = arguments[2];
        expected = Long.parseLong(arguments[3]);
        Path folder = Path.of(arguments[4]);
        Properties settings = settings(arguments[1], folder);
        if (start.equals("latest")) {
            settings.setProperty("snapshot.mode", "no_data");
        } else if (start.equals("snapshot")) {
            settings.setProperty("snapshot.mode", "initial");
        } else {
            // The table's shape is read from the server, the rows from the place that the file names.
            settings.setProperty("snapshot.mode", "recovery");
            writeOffset(folder.resolve("offsets"), start.split(":", 3));
        }
        for (int i = 5; i < arguments.length; i++) {
            String[] pair = arguments[i].split("=", 2);
            settings.setProperty(pair[0], pair[1]);
        }
        DebeziumEngine<?> engine = format.equals("json") ? json(settings) : records(settings, format.equals("markers"));
        var executor = Executors.newSingleThreadExecutor();
        executor.execute(engine);
        while (System.in.read() >= 0) {}
        finish();
    }

    private static DebeziumEngine<?> json(Properties settings) {
        return DebeziumEngine.create(Json.class)
                .using(settings)
                .notifying((List<ChangeEvent<String, String>> batch, DebeziumEngine.RecordCommitter<ChangeEvent<String, String>> committer) -> {
                    for (var event : batch) committer.markProcessed(event);
                    committer.markBatchFinished();
                    count(batch.size());
                })
                .using(Debezium::ended)
                .build();
    }

    private static DebeziumEngine<?> records(Properties settings, boolean markers) {
        return DebeziumEngine.create(ChangeEventFormat.of(Connect.class))
                .using(settings)
                .notifying((List<RecordChangeEvent<SourceRecord>> batch, DebeziumEngine.RecordCommitter<RecordChangeEvent<SourceRecord>> committer) -> {
                    if (markers) for (var event : batch) printMarker(event.record());
                    for (var event : batch) committer.markProcessed(event);
                    committer.markBatchFinished();
                    count(batch.size());
                })
                .using(Debezium::ended)
                .build();
    }

    private static void printMarker(SourceRecord record) {
        var now = java.time.Instant.now();
        long microseconds = now.getEpochSecond() * 1_000_000 + now.getNano() / 1_000;
        Struct after = ((Struct) record.value()).getStruct("after");
        System.out.println(after.getString("Referral") + " " + microseconds);
    }

    private static void count(int more) {
        if (rows == 0) System.out.println("first");
        rows += more;
        if (rows >= expected) finish();
    }

    private static void finish() {
        System.out.println("rows " + rows);
        System.out.flush();
        Runtime.getRuntime().halt(0);
    }

    private static void ended(boolean success, String message, Throwable error) {
        System.err.println("the engine ended: " + message + (error == null ? "" : ": " + error));
        Runtime.getRuntime().halt(1);
    }

    private static Properties settings(String port, Path folder) {
        var settings = new Properties();
        settings.setProperty("name", "bench");
        settings.setProperty("connector.class", "io.debezium.connector.mysql.MySqlConnector");
        settings.setProperty("topic.prefix", "bench");
        settings.setProperty("database.hostname", "127.0.0.1");
        settings.setProperty("database.port", port);
        settings.setProperty("database.user", "root");
        settings.setProperty("database.password", "");
        settings.setProperty("database.server.id", "7001");
        settings.setProperty("database.connectionTimeZone", "UTC");
        settings.setProperty("driver.allowPublicKeyRetrieval", "true");
        settings.setProperty("table.include.list", "shop.Sales");
        settings.setProperty("include.schema.changes", "false");
        settings.setProperty("offset.storage", "org.apache.kafka.connect.storage.FileOffsetBackingStore");
        settings.setProperty("offset.storage.file.filename", folder.resolve("offsets").toString());
        settings.setProperty("schema.history.internal", "io.debezium.storage.file.history.FileSchemaHistory");
        settings.setProperty("schema.history.internal.file.filename", folder.resolve("history").toString());
        return settings;
    }

    /** The file that Kafka Connect's FileOffsetBackingStore reads: a map of JSON keys to JSON values. */
    private static void writeOffset(Path path, String[] place) throws IOException {
        var offsets = new HashMap<byte[], byte[]>();
        offsets.put(
                "[\"bench\",{\"server\":\"bench\"}]".getBytes(StandardCharsets.UTF_8),
                ("{\"file\":\"" + place[0] + "\",\"pos\":" + place[1] + ",\"gtids\":\"" + place[2] + "\"}").getBytes(StandardCharsets.UTF_8));
        try (var out = new ObjectOutputStream(Files.newOutputStream(path))) {
            out.writeObject(offsets);
        }
    }
}
