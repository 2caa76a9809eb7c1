"""Settings, entry points, embedded services and `serve`: what turns the apps into a site."""
