import type { Range, Source } from "./source.js";

/** What an HCL expression evaluates to. Object keys keep the order in which they were written. */
export type HclValue = string | number | boolean | null | HclValue[] | { [key: string]: HclValue };

/** A parsed file: the text it came from and its top-level body. */
export interface HclDocument {
  source: Source;
  body: Body;
}

/** The inside of a block (or of the file). Attributes and blocks keep the order of the text. */
export interface Body {
  attributes: Attribute[];
  blocks: Block[];
  range: Range;
}

export interface Attribute {
  name: string;
  nameRange: Range;
  expr: Expr;
}

export interface Block {
  type: string;
  typeRange: Range;
  labels: { value: string; range: Range }[];
  body: Body;
}

export type BinaryOperator =
  | "||"
  | "&&"
  | "=="
  | "!="
  | "<"
  | "<="
  | ">"
  | ">="
  | "+"
  | "-"
  | "*"
  | "/"
  | "%";

export type Expr = Range &
  (
    | { kind: "literal"; value: string | number | boolean | null }
    | { kind: "template"; parts: TemplatePart[] }
    | { kind: "variable"; name: string }
    | { kind: "index"; target: Expr; key: Expr }
    | { kind: "splat"; target: Expr; each: Expr }
    | { kind: "anonymous" }
    | { kind: "call"; name: string; nameRange: Range; args: Expr[]; expandLast: boolean }
    | { kind: "unary"; operator: "-" | "!"; operand: Expr }
    | { kind: "binary"; operator: BinaryOperator; left: Expr; right: Expr }
    | { kind: "conditional"; condition: Expr; whenTrue: Expr; whenFalse: Expr }
    | { kind: "tuple"; items: Expr[] }
    | { kind: "object"; items: { key: Expr; value: Expr }[] }
    | {
        kind: "for";
        keyName: string | null;
        valueName: string;
        collection: Expr;
        /** Set for `{for … : key => value}`, null for `[for … : value]`. */
        key: Expr | null;
        value: Expr;
        condition: Expr | null;
        /** `value...`: values of equal keys are collected in a list. */
        grouped: boolean;
      }
  );

export type TemplatePart =
  | { kind: "text"; value: string }
  | { kind: "interpolation"; expr: Expr; range: Range }
  | { kind: "if"; condition: Expr; whenTrue: TemplatePart[]; whenFalse: TemplatePart[] }
  | { kind: "for"; keyName: string | null; valueName: string; collection: Expr; body: TemplatePart[] };
