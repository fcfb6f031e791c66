;; Traps, and its debug information says where.
;;
;; In text, because the guests in Rust are built without debug information. The build makes a component of it, as of
;; `tables.wat`. What follows the code is DWARF 4: one unit, whose line table has one row, for the line of the trap.
(module
  (memory (export "memory") 1)

  ;; [{ id: "lines" }]: a pointer to the list, the list, its one record, of which all else is zero.
  (data (i32.const 16) "lines")
  (data (i32.const 32) "\28\00\00\00\01\00\00\00")
  (data (i32.const 40) "\10\00\00\00\05\00\00\00")
  ;; What comes after this is for the host to fill.
  (global $free (mut i32) (i32.const 1024))

  (func (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
    (local $at i32)
    (local.set $at
      (i32.and
        (i32.sub (i32.add (global.get $free) (local.get $align)) (i32.const 1))
        (i32.sub (i32.const 0) (local.get $align))))
    (global.set $free (i32.add (local.get $at) (local.get $size)))
    (local.get $at))

  (func (export "dacapo:task/guest@1.1.0#describe") (result i32)
    (i32.const 32))

  (func $falls (export "dacapo:task/guest@1.1.0#run") (param $arguments i32) (result i32)
    (unreachable))

  (@custom ".debug_abbrev" "\01\11\00\10\17\03\08\1b\08\11\01\12\06\00\00\00")
  ;; lines.wat in /guests, from address 1 of the code section on.
  (@custom ".debug_info"
    "\26\00\00\00\04\00\00\00\00\00\04\01\00\00\00\00\6c\69\6e\65\73\2e\77\61\74\00\2f\67\75\65\73\74\73\00\01\00\00\00\00\00\01\00")
  (@custom ".debug_line"
    "\38\00\00\00\04\00\21\00\00\00\01\01\01\fb\0e\0d\00\01\01\01\01\00\00\00\01\00\00\01\00\6c"
    "\69\6e\65\73\2e\77\61\74\00\00\00\00\00\00\05\02\01\00\00\00\03\1b\01\02\80\80\04\00\01\01"))
