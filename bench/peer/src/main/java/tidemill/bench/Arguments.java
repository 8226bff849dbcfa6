package tidemill.bench;

import java.util.HashMap;
import java.util.Map;

/** The command line: pairs of `--name value`. */
public final class Arguments {
    private final Map<String, String> values = new HashMap<>();

    public Arguments(String[] words) {
        if (words.length % 2 != 0) {
            throw new IllegalArgumentException("every option needs a value: --bootstrap HOST:PORT --prefix P ...");
        }
        for (int index = 0; index < words.length; index += 2) {
            if (!words[index].startsWith("--")) {
                throw new IllegalArgumentException("`" + words[index] + "` is not an option");
            }
            values.put(words[index].substring(2), words[index + 1]);
        }
    }

    public String text(String name) {
        String value = values.get(name);
        if (value == null) {
            throw new IllegalArgumentException("option --" + name + " is missing");
        }
        return value;
    }

    public int number(String name) {
        return Integer.parseInt(text(name));
    }
}
