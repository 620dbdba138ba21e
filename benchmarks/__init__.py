from pipelines.interrupts import in_one_line

in_one_line()
