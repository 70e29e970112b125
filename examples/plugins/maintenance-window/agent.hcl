plugin "maintenance-window" {
  source = "./examples/plugins/maintenance-window/maintenance-window.mjs"

  config {
    lead_minutes = 60
  }
}
