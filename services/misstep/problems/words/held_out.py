"""The stories of validation and test problems.

They are other stories than those of training, so that a score counts none that was learned by heart.
"""

from __future__ import annotations

from misstep.problems.words.story import Noise, Story

VALIDATION = (
    Story(
        tell=(
            "A parking garage has {l} floors with {k} places each. || "
            "In a parking garage, each of the {l} floors has {k} places.",
            "Right now {c} cars stand there. || {c} of the places are taken.",
        ),
        ask="How many places are free? || How many more cars can park there?",
        numbers={"l": (2, 6), "k": (5, 20), "c": (5, 80)},
        steps=("x = l * k : places", "y = x - c : free places"),
        noise=(Noise("Parking costs {d} dollars a day.", 3, 15),),
    ),
    Story(
        tell=(
            "{A} has {n} meters of {ribbon}. || On a roll of {A}'s there are {n} meters of {ribbon}.",
            "{He} buys {m} meters more. || Then {he} buys another {m} meters.",
            "{He} cuts all of it into pieces of {p} meters. || All of it is cut into pieces of {p} meters.",
        ),
        ask="How many pieces does {A} get?",
        numbers={"n": (4, 50), "m": (4, 40), "p": (2, 9)},
        steps=("x = n + m : meters", "y = x / p : pieces"),
        words={"ribbon": "ribbon|rope|wire|string"},
        noise=(Noise("A meter of {ribbon} costs {d} dollars.", 2, 6),),
    ),
    Story(
        tell=(
            "{n} {birds} sit in a tree. || There are {n} {birds} in the old tree.",
            "A dog barks, and {a} of them fly away. || {a} of them fly off.",
            "A little later {b} more {birds} come. || Then {b} other {birds} land in the tree.",
        ),
        ask="How many {birds} are in the tree now?",
        numbers={"n": (8, 60), "a": (3, 40), "b": (2, 40)},
        steps=("x = n - a : {birds}", "y = x + b : {birds}"),
        words={"birds": "birds|sparrows|crows"},
        noise=(Noise("The tree is {d} years old.", 20, 90),),
    ),
    Story(
        tell=(
            "{A}'s album has {p} pages with {k} stamps each. || In {A}'s album are {p} pages, with {k} stamps on each.",
            "{B} gives {him} {g} stamps. || From {B} {he} gets {g} stamps more.",
            "Later {he} swaps {l} stamps for a poster. || Later {l} stamps get lost.",
        ),
        ask="How many stamps does {A} have in the end?",
        numbers={"p": (2, 9), "k": (3, 10), "g": (2, 20), "l": (2, 20)},
        steps=(
            "x = p * k : stamps",
            "y = x + g : stamps",
            "z = y - l : stamps",
        ),
        noise=(Noise("The album cost {d} dollars.", 5, 25),),
    ),
    Story(
        tell=(
            "~An adult pays {p} dollars at the {zoo}. || For an adult the {zoo} costs {p} dollars.",
            "~A child pays {q} dollars at the {zoo}. || For a child the {zoo} costs {q} dollars.",
            "{A} goes there in a group of {a} adults and {k} children. || {A}'s group has {k} children and {a} adults.",
        ),
        ask="How many dollars does the group pay?",
        numbers={"p": (5, 12), "q": (2, 4), "a": (2, 6), "k": (2, 9)},
        steps=("x = a * p : dollars", "y = k * q : dollars", "z = x + y : dollars"),
        words={"zoo": "zoo|museum|water park"},
        noise=(Noise("The {zoo} closes in {d} hours.", 2, 6),),
    ),
    Story(
        tell=(
            "{A} picks {a} kilograms of {cherries}. || In one morning {A} picks {a} kilograms of {cherries}.",
            "{B} picks {t} times as much. || {B} is faster and picks {t} times as much as {A}.",
            "Together they fill crates of {c} kilograms. || Each crate of theirs holds {c} kilograms.",
        ),
        ask="How many crates can the two fill?",
        numbers={"a": (3, 20), "t": (2, 4), "c": (2, 10)},
        steps=("x = a * t : kilograms", "y = a + x : kilograms", "z = y / c : crates"),
        words={"cherries": "cherries|grapes|tomatoes"},
        noise=(Noise("A ladder there has {d} steps.", 8, 20),),
    ),
    Story(
        tell=(
            "{A} wants to swim {g} laps this week. || This week {A}'s plan is to swim {g} laps.",
            "On each of {d_} days {he} swims {l} laps, and on Saturday {m} more. || "
            "{He} swims {l} laps on each of {d_} days, and {m} laps on Saturday.",
            "One lap takes {him} {t} minutes. || {He} needs {t} minutes for one lap.",
        ),
        ask="How many minutes will the missing laps take? || How many minutes must {A} still swim?",
        numbers={"g": (20, 60), "d_": (2, 5), "l": (4, 12), "m": (3, 15), "t": (2, 4)},
        steps=(
            "x = l * d_ : laps",
            "y = x + m : laps",
            "z = g - y : laps",
            "w = z * t : minutes",
        ),
        noise=(Noise("The pool is {d} meters long.", 20, 50),),
    ),
    Story(
        tell=(
            "{A} cooks {p} pots of soup, which give {k} bowls each. || {A}'s soup fills {p} pots, of {k} bowls each.",
            "People eat {a} bowls at noon and {b} bowls in the evening. || "
            "At noon {a} bowls are eaten, and in the evening {b} bowls.",
            "What is left is shared equally by {f} neighbors. || {f} neighbors get equal shares of what is left.",
        ),
        ask="How many bowls does each neighbor get?",
        numbers={"p": (2, 6), "k": (8, 20), "a": (4, 30), "b": (4, 30), "f": (2, 6)},
        steps=(
            "x = p * k : bowls",
            "y = a + b : bowls",
            "z = x - y : bowls",
            "w = z / f : bowls",
        ),
        noise=(Noise("The soup cooks for {d} minutes.", 20, 90),),
    ),
)

TEST = (
    Story(
        tell=(
            "{A} makes {n} {candles} a day. || Each day {A} makes {n} {candles}.",
            "After {d_} days {he} gives {k} of them to {B}. || {He} does so for {d_} days, and gives {k} of them away.",
        ),
        ask="How many {candles} does {A} keep?",
        numbers={"n": (2, 12), "d_": (2, 9), "k": (2, 30)},
        steps=("x = n * d_ : {candles}", "y = x - k : {candles}"),
        words={"candles": "candles|cups of clay|paper stars|wooden spoons"},
        noise=(Noise("{B} has been {A}'s neighbor for {d} years.", 2, 20),),
    ),
    Story(
        tell=(
            "{A} and some friends take a taxi that costs {p} dollars. || "
            "For a taxi, {A} and some friends owe {p} dollars.",
            "They add a tip of {t} dollars. || The tip for the driver is {t} dollars.",
            "The {n} of them split this equally. || All {n} people in the taxi pay the same.",
        ),
        ask="How many dollars does each of them pay?",
        numbers={"p": (10, 60), "t": (2, 12), "n": (3, 6)},
        steps=("x = p + t : dollars", "y = x / n : dollars"),
        noise=(Noise("The ride takes {d} minutes.", 10, 50),),
    ),
    Story(
        tell=(
            "A {lift} has {w} cabins with {s} people in each. || In each of the {w} cabins of a {lift} sit {s} people.",
            "Halfway, {m} more people get in. || At the middle station {m} more people get in.",
        ),
        ask="How many people are in the cabins now?",
        numbers={"w": (2, 12), "s": (2, 9), "m": (2, 30)},
        steps=("x = w * s : people", "y = x + m : people"),
        words={"lift": "ski lift|cable car|big wheel"},
        noise=(Noise("The whole ride takes {d} minutes.", 8, 30),),
    ),
    Story(
        tell=(
            "A {tank} can hold {t} liters of water. || There is room for {t} liters of water in a {tank}.",
            "{A} pours {b} buckets of {l} liters each into it. || {A} fills it with {b} buckets, each of {l} liters.",
        ),
        ask="How many more liters can the {tank} take?",
        numbers={"t": (20, 60), "b": (2, 9), "l": (3, 12)},
        steps=("x = b * l : liters", "y = t - x : liters"),
        words={"tank": "rain barrel|water tank|bathtub"},
        noise=(Noise("The next well is {d} meters away.", 10, 80),),
    ),
    Story(
        tell=(
            "Each day a workshop makes {c} {chairs} and {p} {tables}. || "
            "A workshop makes {p} {tables} and {c} {chairs} each day.",
            "After {d_} days, {s} of these pieces are sold. || It works for {d_} days, and then {s} pieces are sold.",
        ),
        ask="How many pieces does the workshop still have?",
        numbers={"c": (2, 9), "p": (2, 9), "d_": (2, 7), "s": (3, 40)},
        steps=("x = c + p : pieces", "y = x * d_ : pieces", "z = y - s : pieces"),
        words={"chairs": "chairs|stools|benches", "tables": "tables|shelves|beds"},
        noise=(Noise("{d} people work there.", 3, 15),),
    ),
    Story(
        tell=(
            "A camp has {n} tents with {k} campers in each. || {k} campers sleep in each of the {n} tents of a camp.",
            "{l} guides come with them. || The campers have {l} guides.",
            "All of them cross the lake in boats of {b} seats, and every seat is taken. || "
            "Guides and campers fill boats of {b} seats, with no seat empty.",
        ),
        ask="How many boats are there?",
        numbers={"n": (2, 9), "k": (2, 8), "l": (2, 10), "b": (2, 8)},
        steps=("x = n * k : campers", "y = x + l : people", "z = y / b : boats"),
        noise=(Noise("The lake is {d} meters deep.", 4, 40),),
    ),
    Story(
        tell=(
            "For one {bracelet} {A} needs {b} beads. || {A} uses {b} beads for each {bracelet}.",
            "~There are {r} red beads in {A}'s box. || {A} has {r} red beads.",
            "~There are {g} green beads in {A}'s box. || {A} has {g} green beads.",
            "{He} makes {n} {bracelets}. || {n} {bracelets} are made.",
        ),
        ask="How many beads are left over? || How many beads does {A} not use?",
        numbers={"b": (4, 12), "r": (8, 50), "g": (8, 50), "n": (2, 8)},
        steps=("x = b * n : beads", "y = r + g : beads", "z = y - x : beads"),
        words={"bracelet/bracelets": "bracelet/bracelets|necklace/necklaces|key chain/key chains"},
        noise=(Noise("One {bracelet} sells for {d} dollars.", 3, 12),),
    ),
    Story(
        tell=(
            "~{A}'s dog eats {d_} cups of food a day. || Each day {A}'s dog eats {d_} cups of food.",
            "~{A}'s cat eats {c} cups of food a day. || Each day {A}'s cat eats {c} cups of food.",
            "There are {s} cups in a full sack, from which both eat. || They eat from one sack, which holds {s} cups.",
        ),
        ask="How many cups are left after {n} days?",
        numbers={"d_": (3, 9), "c": (2, 4), "s": (20, 60), "n": (2, 9)},
        steps=("x = d_ + c : cups", "y = x * n : cups", "z = s - y : cups"),
        noise=(Noise("The dog weighs {d} kilograms.", 8, 35),),
    ),
    Story(
        tell=(
            "{A} takes {a} photos on Friday. || On Friday {A} takes {a} photos.",
            "On Saturday {he} takes {t} times as many, and on Sunday {m}. || "
            "{He} takes {t} times as many on Saturday, and {m} photos on Sunday.",
            "At home {he} deletes {k} of them all. || In the evening {k} of all the photos are deleted.",
        ),
        ask="How many photos does {A} keep?",
        numbers={"a": (3, 15), "t": (2, 4), "m": (3, 20), "k": (2, 30)},
        steps=(
            "x = a * t : photos",
            "y = a + x : photos",
            "z = y + m : photos",
            "w = z - k : photos",
        ),
        noise=(Noise("The camera is {d} years old.", 2, 9),),
    ),
    Story(
        tell=(
            "{A} has {m} dollars when a {plumber} comes. || A {plumber} comes to {A}, who has {m} dollars.",
            "~The {plumber} takes {p} dollars an hour and stays {h} hours. || "
            "The {plumber} works for {h} hours at {p} dollars an hour.",
            "~The drive costs {f} dollars, and new parts cost {q} dollars. || "
            "There are also {q} dollars for new parts and {f} dollars for the drive.",
        ),
        ask="How many dollars does {A} have after paying for all this?",
        numbers={"m": (30, 60), "p": (6, 15), "h": (2, 4), "f": (3, 12), "q": (4, 20)},
        steps=(
            "x = p * h : dollars",
            "y = f + q : dollars",
            "z = x + y : dollars",
            "w = m - z : dollars",
        ),
        words={"plumber": "plumber|painter|locksmith"},
        noise=(Noise("The house has {d} rooms.", 3, 9),),
    ),
    Story(
        tell=(
            "{A}'s orchard has {r} rows of {k} {apple} trees. || {A} has {r} rows of {apple} trees, {k} in each row.",
            "A storm breaks {d_} of the trees. || In a storm {d_} of the trees fall.",
            "Each tree that still stands gives {b} crates, and {A} sells {s} crates. || "
            "From each tree that is left come {b} crates, of which {A} sells {s} in all.",
        ),
        ask="How many crates remain?",
        numbers={"r": (2, 6), "k": (3, 9), "d_": (2, 9), "b": (2, 4), "s": (3, 40)},
        steps=(
            "x = r * k : trees",
            "y = x - d_ : trees",
            "z = y * b : crates",
            "w = z - s : crates",
        ),
        words={"apple": "apple|cherry|walnut"},
        noise=(Noise("The orchard has been in the family for {d} years.", 10, 60),),
    ),
    Story(
        tell=(
            "On a school trip there are {b} classes of {k} pupils, and {t} teachers. || "
            "{t} teachers and {b} classes of {k} pupils each go on a trip.",
            "They fill minibuses of {c} seats, and no seat is empty. || Each minibus takes {c} of them, and is full.",
            "One minibus costs {p} dollars. || The price of one minibus is {p} dollars.",
        ),
        ask="How many dollars do the minibuses cost in all?",
        numbers={"b": (2, 4), "k": (8, 20), "t": (2, 8), "c": (5, 12), "p": (5, 20)},
        steps=("x = b * k : pupils", "y = x + t : people", "z = y / c : minibuses", "w = z * p : dollars"),
        noise=(Noise("The trip starts at {d} o'clock.", 7, 10),),
    ),
)
