"""GC-UDML: group-collaborative learning from a momentum teacher."""
