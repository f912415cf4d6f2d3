"""Train the demonstration models. torch may be imported here."""
