package tidemill.bench.chain;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.NavigableMap;
import java.util.TreeMap;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.processor.StateStore;
import org.apache.kafka.streams.processor.StateStoreContext;
import org.apache.kafka.streams.query.Position;
import org.apache.kafka.streams.state.KeyValueBytesStoreSupplier;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.KeyValueStore;

/**
 * A store of hash maps behind the interface of Kafka Streams, for which a changelog is kept as for any other. Keys are
 * ordered by their first bytes alone, as far as the chain needs it: one map for each beginning.
 */
final class HashStore implements KeyValueStore<Bytes, byte[]> {
    private final String name;
    private final int prefixBytes;
    private final NavigableMap<Bytes, Map<Bytes, byte[]>> maps = new TreeMap<>();
    private Bytes lastPrefix;
    private Map<Bytes, byte[]> lastMap;
    private boolean isOpen;

    private HashStore(String name, int prefixBytes) {
        this.name = name;
        this.prefixBytes = prefixBytes;
    }

    static KeyValueBytesStoreSupplier supplier(String name, int prefixBytes) {
        return new KeyValueBytesStoreSupplier() {
            @Override
            public String name() {
                return name;
            }

            @Override
            public KeyValueStore<Bytes, byte[]> get() {
                return new HashStore(name, prefixBytes);
            }

            @Override
            public String metricsScope() {
                return "hash";
            }
        };
    }

    @Override
    public String name() {
        return name;
    }

    @Override
    public void init(StateStoreContext context, StateStore root) {
        isOpen = true;
        context.register(root, (key, value) -> put(Bytes.wrap(key), value));
    }

    @Override
    public byte[] get(Bytes key) {
        Map<Bytes, byte[]> map = mapOf(key);
        return map == null ? null : map.get(key);
    }

    @Override
    public void put(Bytes key, byte[] value) {
        Map<Bytes, byte[]> map = mapOf(key);
        if (value == null) {
            if (map != null && map.remove(key) != null && map.isEmpty()) {
                maps.remove(prefixOf(key));
                lastPrefix = null;
            }
            return;
        }
        if (map == null) {
            map = new HashMap<>();
            maps.put(prefixOf(key), map);
            lastPrefix = null;
        }
        map.put(key, value);
    }

    @Override
    public byte[] putIfAbsent(Bytes key, byte[] value) {
        byte[] before = get(key);
        if (before == null) {
            put(key, value);
        }
        return before;
    }

    @Override
    public void putAll(List<KeyValue<Bytes, byte[]>> entries) {
        entries.forEach(entry -> put(entry.key, entry.value));
    }

    @Override
    public byte[] delete(Bytes key) {
        byte[] before = get(key);
        put(key, null);
        return before;
    }

    /** From the first map on; the order within a map is any. */
    @Override
    public KeyValueIterator<Bytes, byte[]> range(Bytes from, Bytes to) {
        List<KeyValue<Bytes, byte[]>> found = new ArrayList<>();
        for (Map<Bytes, byte[]> map : maps.values()) {
            map.forEach((key, value) -> {
                boolean isInside = (from == null || key.compareTo(from) >= 0) && (to == null || key.compareTo(to) <= 0);
                if (isInside) {
                    found.add(KeyValue.pair(key, value));
                }
            });
        }
        return new Found(found.iterator());
    }

    @Override
    public KeyValueIterator<Bytes, byte[]> all() {
        return range(null, null);
    }

    @Override
    public long approximateNumEntries() {
        return maps.values().stream().mapToLong(Map::size).sum();
    }

    @Override
    public void flush() {
        // The changelog has it all.
    }

    @Override
    public void close() {
        isOpen = false;
        maps.clear();
        lastPrefix = null;
    }

    @Override
    public boolean persistent() {
        return false;
    }

    /** Only queries from outside ask how far the store is, and there are none. */
    @Override
    public Position getPosition() {
        return Position.emptyPosition();
    }

    @Override
    public boolean isOpen() {
        return isOpen;
    }

    private Map<Bytes, byte[]> mapOf(Bytes key) {
        if (lastPrefix == null || !isPrefix(lastPrefix.get(), key.get())) {
            lastPrefix = prefixOf(key);
            lastMap = maps.get(lastPrefix);
        }
        return lastMap;
    }

    private Bytes prefixOf(Bytes key) {
        return Bytes.wrap(java.util.Arrays.copyOf(key.get(), prefixBytes));
    }

    private static boolean isPrefix(byte[] prefix, byte[] key) {
        return java.util.Arrays.equals(prefix, 0, prefix.length, key, 0, prefix.length);
    }

    private static final class Found implements KeyValueIterator<Bytes, byte[]> {
        private final Iterator<KeyValue<Bytes, byte[]>> rest;

        Found(Iterator<KeyValue<Bytes, byte[]>> rest) {
            this.rest = rest;
        }

        @Override
        public boolean hasNext() {
            return rest.hasNext();
        }

        @Override
        public KeyValue<Bytes, byte[]> next() {
            return rest.next();
        }

        @Override
        public Bytes peekNextKey() {
            throw new UnsupportedOperationException("the chain does not peek");
        }

        @Override
        public void close() {
            // Nothing is held.
        }
    }
}
