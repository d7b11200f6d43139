// Sends events with the unmodified CloudEvents SDK for Java: java -cp JARS Produce.java BASE_URL [BROKERS TOPIC].
// The subject names the case, and `tokens` is its number in the test's table. Prints the status of each request as JSON.

import com.fasterxml.jackson.databind.ObjectMapper;
import io.cloudevents.CloudEvent;
import io.cloudevents.core.builder.CloudEventBuilder;
import io.cloudevents.core.message.Encoding;
import io.cloudevents.core.message.MessageWriter;
import io.cloudevents.core.provider.EventFormatProvider;
import io.cloudevents.http.HttpMessageFactory;
import io.cloudevents.jackson.JsonFormat;
import io.cloudevents.core.data.PojoCloudEventData;
import io.cloudevents.kafka.CloudEventSerializer;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.time.OffsetDateTime;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

class Produce {
  static final ObjectMapper MAPPER = new ObjectMapper();
  static final Map<String, Integer> STATUSES = new TreeMap<>();
  static HttpClient client = HttpClient.newHttpClient();
  static URI target;

  static byte[] tokens(int number) {
    return ("{\"tokens\":" + number + "}").getBytes(StandardCharsets.UTF_8);
  }

  static CloudEventBuilder event(String subject) {
    return CloudEventBuilder.v1().withId(subject).withType("java-prompt").withSource(URI.create("/java"))
        .withSubject(subject).withExtension("trace", "t-1");
  }

  static CloudEvent typed(String subject, int number) {
    return event(subject).withData("application/json", tokens(number)).build();
  }

  static void post(String name, List<String[]> headers, byte[] body) {
    HttpRequest.Builder request = HttpRequest.newBuilder(target).version(HttpClient.Version.HTTP_1_1)
        .POST(HttpRequest.BodyPublishers.ofByteArray(body == null ? new byte[0] : body));
    headers.forEach(header -> request.header(header[0], header[1]));
    try {
      STATUSES.put(name, client.send(request.build(), BodyHandlers.discarding()).statusCode());
    } catch (Exception error) {
      throw new IllegalStateException(name, error);
    }
  }

  static void send(boolean structured, CloudEvent event) {
    List<String[]> headers = new java.util.ArrayList<>();
    MessageWriter<?, ?> writer = HttpMessageFactory.createWriter(
        (name, value) -> headers.add(new String[] {name, value}), body -> post(event.getSubject(), headers, body));
    if (structured) {
      writer.writeStructured(event, JsonFormat.CONTENT_TYPE);
    } else {
      writer.writeBinary(event);
    }
  }

  static void sendByHttp() throws Exception {
    send(true, typed("structured", 1));
    send(true, event("structured untyped").withData(tokens(2)).build());
    send(true, event("structured object").withDataContentType("application/json")
        .withData(PojoCloudEventData.wrap(Map.of("tokens", 3), MAPPER::writeValueAsBytes)).build());
    send(false, typed("binary", 4));
    send(false, event("binary untyped").withData(tokens(5)).build());
    send(false, event("binary with a time").withTime(OffsetDateTime.parse("2026-11-02T10:00:00+01:00"))
        .withDataSchema(URI.create("urn:schema")).withData("application/json; charset=utf-8", tokens(6)).build());
    JsonFormat format = (JsonFormat) EventFormatProvider.getInstance().resolveFormat(JsonFormat.CONTENT_TYPE);
    String batch = "[" + new String(format.serialize(typed("batch 1", 7)), StandardCharsets.UTF_8) + ","
        + new String(format.serialize(typed("batch 2", 8)), StandardCharsets.UTF_8) + "]";
    post("batch", List.<String[]>of(new String[] {"Content-Type", "application/cloudevents-batch+json"}),
        batch.getBytes(StandardCharsets.UTF_8));
  }

  static void sendByKafka(String brokers, String topic) throws Exception {
    for (Encoding encoding : Encoding.values()) {
      Map<String, Object> options = new TreeMap<>(Map.of("bootstrap.servers", brokers));
      CloudEventSerializer serializer = new CloudEventSerializer();
      options.put(CloudEventSerializer.ENCODING_CONFIG, encoding);
      if (encoding == Encoding.STRUCTURED) {
        options.put(CloudEventSerializer.EVENT_FORMAT_CONFIG, JsonFormat.CONTENT_TYPE);
      }
      serializer.configure(options, false);
      int first = encoding == Encoding.STRUCTURED ? 21 : 24;
      String mode = encoding.name().toLowerCase();
      try (var producer = new KafkaProducer<>(options, new StringSerializer(), serializer)) {
        producer.send(new ProducerRecord<>(topic, "key", typed("kafka " + mode, first))).get();
        producer.send(new ProducerRecord<>(topic, event("kafka " + mode + " untyped").withData(tokens(first + 1)).build())).get();
        producer.send(new ProducerRecord<>(topic, event("kafka " + mode + " Zoë/€ %20").withExtension("number", 7)
            .withData("application/json; charset=utf-8", tokens(first + 2)).build())).get();
      }
    }
  }

  public static void main(String[] arguments) throws Exception {
    target = URI.create(arguments[0] + "/api/v1/events");
    sendByHttp();
    if (arguments.length > 1) {
      sendByKafka(arguments[1], arguments[2]);
    }
    System.out.println(MAPPER.writeValueAsString(STATUSES));
  }
}
