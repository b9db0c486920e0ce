import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HexFormat;
import java.util.Properties;
import java.util.TreeSet;
import org.pytorch.serve.util.ConfigManager;

/** For each line of the input, a properties file in hexadecimal: what TorchServe reads in it. */
public class TorchServeSettings {
    public static void main(String[] arguments) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        Path file = Path.of(arguments[0]);
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

    private static String units(String text) {
        StringBuilder units = new StringBuilder();
        for (char unit : text.toCharArray()) {
            units.append(String.format("%04x", (int) unit));
        }
        return units.toString();
    }
}
