import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.reflect.Field;
import java.lang.reflect.Modifier;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HexFormat;
import java.util.Properties;
import java.util.TreeSet;
import org.pytorch.serve.util.ConfigManager;

/** The names of TorchServe's settings, then for each line of the input, a properties file in hexadecimal, what it reads. */
public class TorchServeSettings {
    public static void main(String[] arguments) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        Path file = Path.of(arguments[0]);
        System.out.println("names: " + String.join(" ", names()));
        String line;
        while ((line = lines.readLine()) != null) {
            Files.write(file, HexFormat.of().parseHex(line));
            ConfigManager.Arguments given = new ConfigManager.Arguments();
            given.setTsConfigFile(file.toString());
            given.setModelStore(file.getParent().toString());
            StringBuilder found = new StringBuilder();
            try {
                ConfigManager.init(given);
                Properties settings = ConfigManager.getInstance().getConfiguration();
                for (String key : new TreeSet<>(settings.stringPropertyNames())) {
                    found.append(units(key)).append('=').append(units(settings.getProperty(key))).append(' ');
                }
            } catch (IllegalArgumentException error) {
                found.append("refused");
            }
            System.out.println("settings: " + found);
        }
    }

    private static TreeSet<String> names() throws Exception {
        TreeSet<String> names = new TreeSet<>();
        for (Field field : ConfigManager.class.getDeclaredFields()) {
            if (Modifier.isPrivate(field.getModifiers()) && Modifier.isStatic(field.getModifiers())
                    && field.getType() == String.class) {
                field.setAccessible(true);
                names.add((String) field.get(null));
            }
        }
        return names;
    }

    private static String units(String text) {
        StringBuilder units = new StringBuilder();
        for (char unit : text.toCharArray()) {
            units.append(String.format("%04x", (int) unit));
        }
        return units.toString();
    }
}
