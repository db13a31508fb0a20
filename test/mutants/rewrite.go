package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
)

// mutant is one change of the product that some test should notice.
type mutant struct {
	id          int
	description string // stable: file, function, kind and text, but no line
	line        int    // for people, and for errors of the compiler
	file        string // relative to the module
	ofError     bool   // it is in the answer to an error: reached only if something below fails
}

// wrap puts text around a piece of the source.
type wrap struct {
	start, end     int // byte offsets
	prefix, suffix string
}

// rewriter finds the mutants of one file, and writes them all into it, each behind a
// switch: mutantOn(id) is true while that mutant is wanted. So a package is compiled once,
// and its test binary is run once for each mutant.
//
// A switch stands where it is asked only if the mutant makes a difference: "c && !mutantOn(1)"
// asks only where c is true. What a test asks is what it may notice.
type rewriter struct {
	file    string
	src     []byte
	set     *token.FileSet
	next    int          // the first free id
	skipped map[int]bool // lines without mutants: what was there does not compile

	mutants []mutant
	wraps   []wrap
	same    map[string]int // how often a description came

	function string            // that is walked
	results  *ast.FieldList    // of the innermost function
	errors   int               // how many answers to errors are around
	decided  map[ast.Expr]bool // conditions and operands, which have their mutants already
}

// rewrite returns a Go file with its mutants, whose ids begin at first. Lines stay as they are.
func rewrite(file string, src []byte, first int, skipped map[int]bool) (out []byte, found []mutant, err error) {
	r := &rewriter{
		file: file, src: src, set: token.NewFileSet(), next: first, skipped: skipped, same: make(map[string]int),
		decided: make(map[ast.Expr]bool),
	}
	parsed, err := parser.ParseFile(r.set, file, src, parser.SkipObjectResolution)
	if err != nil {
		return nil, nil, err
	}
	for _, d := range parsed.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Body != nil {
				r.function, r.results = functionName(d), d.Type.Results
				r.walk(d.Body)
			}
		case *ast.GenDecl:
			if d.Tok == token.VAR {
				r.function = "var"
				r.walk(d)
			}
		}
	}
	return r.text(), r.mutants, nil
}

// functionName is Type.Method or Function.
func functionName(d *ast.FuncDecl) string {
	if d.Recv == nil || len(d.Recv.List) == 0 {
		return d.Name.Name
	}
	t := d.Recv.List[0].Type
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	if generic, ok := t.(*ast.IndexExpr); ok {
		t = generic.X
	}
	if name, ok := t.(*ast.Ident); ok {
		return name.Name + "." + d.Name.Name
	}
	return d.Name.Name
}

// text is the source with everything wrapped: where several wraps meet, the outer one, which
// was found first, is outside.
func (r *rewriter) text() []byte {
	starts, ends := make(map[int][]string), make(map[int][]string)
	for _, w := range r.wraps {
		starts[w.start] = append(starts[w.start], w.prefix)
		ends[w.end] = append(ends[w.end], w.suffix)
	}
	var out []byte
	for i := range len(r.src) + 1 {
		for _, suffix := range slices.Backward(ends[i]) {
			out = append(out, suffix...)
		}
		for _, prefix := range starts[i] {
			out = append(out, prefix...)
		}
		if i < len(r.src) {
			out = append(out, r.src[i])
		}
	}
	return out
}

func (r *rewriter) offset(p token.Pos) int { return r.set.Position(p).Offset }

func (r *rewriter) source(n ast.Node) string {
	return string(r.src[r.offset(n.Pos()):r.offset(n.End())])
}

// maxText bounds what a description says of the source.
const maxText = 120

// add notes a mutant and returns the expression that asks for it; "" where there must be none.
func (r *rewriter) add(kind string, n ast.Node) string {
	line := r.set.Position(n.Pos()).Line
	if r.skipped[line] {
		return ""
	}
	text := strings.Join(strings.Fields(r.source(n)), " ")
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "..."
	}
	description := fmt.Sprintf("%s: %s: %s: %s", r.file, r.function, kind, text)
	r.same[description]++
	if n := r.same[description]; n > 1 {
		description += fmt.Sprintf(" (%d)", n)
	}
	id := r.next
	r.next++
	r.mutants = append(r.mutants, mutant{id: id, description: description, line: line, file: r.file, ofError: r.errors > 0})
	return fmt.Sprintf("mutantOn(%d)", id)
}

func (r *rewriter) wrap(n ast.Node, prefix, suffix string) {
	r.wraps = append(r.wraps, wrap{r.offset(n.Pos()), r.offset(n.End()), prefix, suffix})
}

// never makes a condition false.
func (r *rewriter) never(kind string, e ast.Expr) {
	r.decided[ast.Unparen(e)] = true
	if on := r.add(kind, e); on != "" {
		r.wrap(e, "((", ") && !"+on+")")
	}
}

// always makes it true.
func (r *rewriter) always(kind string, e ast.Expr) {
	r.decided[ast.Unparen(e)] = true
	if on := r.add(kind, e); on != "" {
		r.wrap(e, "((", ") || "+on+")")
	}
}

// negate makes it the other truth.
func (r *rewriter) negate(e ast.Expr) {
	if on := r.add("negated", e); on != "" {
		r.wrap(e, "((", ") != "+on+")")
	}
}

// walk finds the mutants of a node and of what is in it.
func (r *rewriter) walk(n ast.Node) {
	ast.Inspect(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit:
			was := r.results
			r.results = n.Type.Results
			r.walk(n.Body)
			r.results = was
			return false
		case *ast.IfStmt:
			return r.branch(n)
		case *ast.ForStmt:
			if n.Cond != nil {
				r.never("loop left out", n.Cond)
			}
		case *ast.SwitchStmt:
			r.cases(n)
		case *ast.BlockStmt:
			r.statements(n.List)
		case *ast.CaseClause:
			r.statements(n.Body)
		case *ast.CommClause:
			r.statements(n.Body)
		case *ast.BinaryExpr:
			r.binary(n)
		case *ast.GenDecl:
			return n.Tok == token.VAR // constants have to stay constant
		}
		return true
	})
}

// branch handles an if. It walks the parts itself where they answer an error.
func (r *rewriter) branch(n *ast.IfStmt) bool {
	answers := isErrorCheck(n.Cond)
	if answers {
		r.errors++
	}
	r.never("if never", n.Cond)
	if answers {
		r.errors--
	}
	r.always("if always", n.Cond)
	if !answers {
		return true
	}
	if n.Init != nil {
		r.walk(n.Init)
	}
	r.walk(n.Cond)
	r.errors++
	r.walk(n.Body)
	r.errors--
	if n.Else != nil {
		r.walk(n.Else)
	}
	return false
}

// isErrorCheck reports whether a condition is err != nil, whatever the error's name.
func isErrorCheck(cond ast.Expr) bool {
	b, ok := cond.(*ast.BinaryExpr)
	if !ok || b.Op != token.NEQ || !isIdent(b.Y, "nil") {
		return false
	}
	x, ok := b.X.(*ast.Ident)
	return ok && (x.Name == "err" || x.Name == "failure" || strings.HasSuffix(x.Name, "Err"))
}

func isIdent(e ast.Expr, names ...string) bool {
	x, ok := e.(*ast.Ident)
	return ok && slices.Contains(names, x.Name)
}

// cases handles the conditions of a switch that has nothing to compare them with.
func (r *rewriter) cases(n *ast.SwitchStmt) {
	if n.Tag != nil {
		return
	}
	for _, s := range n.Body.List {
		for _, e := range s.(*ast.CaseClause).List { //nolint:errcheck // a switch has nothing else
			r.never("case never", e)
			r.always("case always", e)
		}
	}
}

// boundary has the operators that differ where both sides are equal.
var boundary = map[token.Token]string{token.LSS: "<=", token.LEQ: "<", token.GTR: ">=", token.GEQ: ">"}

func (r *rewriter) binary(n *ast.BinaryExpr) {
	switch n.Op {
	case token.LAND:
		r.always("operand left out", n.X)
		r.always("operand left out", n.Y)
	case token.LOR:
		r.never("operand left out", n.X)
		r.never("operand left out", n.Y)
	case token.EQL, token.NEQ:
		if !r.decided[n] {
			r.negate(n)
		}
	case token.LSS, token.LEQ, token.GTR, token.GEQ:
		x, y := r.source(n.X), r.source(n.Y)
		if strings.Contains(x+y, "\n") {
			return // it would move the lines
		}
		if on := r.add("boundary", n); on != "" {
			r.wrap(n, fmt.Sprintf("(%s && (%s %s %s) || !%s && (", on, x, boundary[n.Op], y, on), "))")
		}
	}
}

// statements handles what can be left out, and returns.
func (r *rewriter) statements(list []ast.Stmt) {
	for _, s := range list {
		switch s := s.(type) {
		case *ast.ReturnStmt:
			r.returned(s)
		case *ast.BranchStmt:
			if s.Label == nil && (s.Tok == token.BREAK || s.Tok == token.CONTINUE) {
				r.leaveOut(s)
			}
		case *ast.AssignStmt:
			if s.Tok != token.DEFINE {
				r.leaveOut(s)
			}
		case *ast.ExprStmt:
			if !unimportant(s.X) {
				r.leaveOut(s)
			}
		case *ast.DeferStmt:
			if !unimportant(s.Call) {
				r.leaveOut(s)
			}
		case *ast.IncDecStmt, *ast.SendStmt, *ast.GoStmt:
			r.leaveOut(s)
		}
	}
}

func (r *rewriter) leaveOut(s ast.Stmt) {
	if on := r.add("left out", s); on != "" {
		r.wrap(s, "if !"+on+" { ", " }")
	}
}

// Calls that are not left out: what a log says is for people, and a lock that is missing is
// for the race detector to find, one that stays closed ends in nothing but a time-out.
var (
	logs  = []string{"Debug", "DebugContext", "Info", "InfoContext", "Warn", "WarnContext", "Error", "ErrorContext", "Log", "LogAttrs"}
	locks = []string{"Lock", "Unlock", "RLock", "RUnlock"}
)

func unimportant(e ast.Expr) bool {
	call, ok := e.(*ast.CallExpr)
	if !ok {
		return false
	}
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return f.Name == "panic" // a function may end with it
	case *ast.SelectorExpr:
		return slices.Contains(logs, f.Sel.Name) || slices.Contains(locks, f.Sel.Name)
	default:
		return false
	}
}

// returned makes a return give back zero values, or the other truth.
func (r *rewriter) returned(s *ast.ReturnStmt) {
	if len(s.Results) == 1 && isIdent(s.Results[0], "true", "false") {
		r.negate(s.Results[0])
		return
	}
	if len(s.Results) == 0 || !slices.ContainsFunc(s.Results, func(e ast.Expr) bool { return !isZero(e) }) {
		return
	}
	zeros, ok := r.zeros()
	if !ok {
		return
	}
	if on := r.add("zero value", s); on != "" {
		r.wrap(s, "if "+on+" { return func() ("+zeros+") { return }() }; ", "")
	}
}

// zeros declares the results of the innermost function as those of another one.
func (r *rewriter) zeros() (list string, ok bool) {
	var all []string
	for _, field := range r.results.List {
		text := r.source(field.Type)
		if strings.Contains(text, "\n") {
			return "", false
		}
		for range max(1, len(field.Names)) {
			all = append(all, "_ "+text)
		}
	}
	return strings.Join(all, ", "), true
}

// isZero reports whether an expression is a zero value by its looks.
func isZero(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name == "nil" || e.Name == "false"
	case *ast.BasicLit:
		return e.Value == "0" || e.Value == `""`
	case *ast.CompositeLit:
		_, array := e.Type.(*ast.ArrayType)
		_, table := e.Type.(*ast.MapType)
		return len(e.Elts) == 0 && !array && !table
	default:
		return false
	}
}
