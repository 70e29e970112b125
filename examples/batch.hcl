# A batch job: four allocations that each do a piece of work and end.
#
#   drover job run examples/batch.hcl
#   drover job run -var pieces=8 -var 'words=["red","green"]' examples/batch.hcl
#
# It also shows variables, local values, functions and dynamic blocks: they are
# evaluated when the file is read, before the job is sent.

variable "pieces" {
  type        = number
  default     = 4
  description = "How many allocations share the work"

  validation {
    condition     = var.pieces >= 1 && var.pieces <= 100
    error_message = "The number of pieces must be between 1 and 100."
  }
}

variable "words" {
  type    = list(string)
  default = ["apple", "pear", "plum"]
}

locals {
  text = join(" ", [for word in var.words : upper(word)])
}

job "count-words" {
  datacenters = ["dc1"]
  type        = "batch"

  group "work" {
    count = var.pieces

    # A batch allocation that fails is tried again here before it moves elsewhere.
    restart {
      attempts = 2
      interval = "10m"
      delay    = "5s"
      mode     = "fail"
    }

    # One task a word. They run side by side; the allocation is complete when every
    # task has ended with exit code 0.
    dynamic "task" {
      for_each = var.words
      labels   = [task.value]

      content {
        driver = "raw_exec"

        config {
          command = "/bin/sh"
          args = ["-c", <<-SCRIPT
            echo "piece $NOMAD_ALLOC_INDEX of ${var.pieces}, all words: ${local.text}"
            printf '%s' "$WORD" | wc -c
            SCRIPT
          ]
        }

        env {
          WORD = task.value
        }

        resources {
          cpu    = 20
          memory = 16
        }
      }
    }
  }
}
