"""The stories of training problems."""

from __future__ import annotations

from misstep.problems.words.story import Noise, Story

_TWO = (
    Story(
        tell=(
            "At the market, {A} buys {n} {bags} of {fruit}. || {A} comes home with {n} {bags} of {fruit}.",
            "Each {bag} has {k} {fruit} in it. || There are {k} {fruit} in each {bag}.",
            "{He} gives {g} of the {fruit} to {B}. || {B} gets {g} {fruit} from {him}.",
        ),
        ask="How many {fruit} does {A} have left? || How many {fruit} are left for {A}?",
        numbers={"n": (2, 9), "k": (2, 9), "g": (2, 20)},
        steps=("x = n * k : {fruit}", "y = x - g : {fruit}"),
        words={"fruit": "apples|pears|plums|oranges", "bag/bags": "bag/bags|box/boxes|basket/baskets"},
        noise=(Noise("One {bag} of nuts costs {d} dollars.", 2, 9),),
    ),
    Story(
        tell=(
            "{A} has {s} dollars in {his} {bank}. || There are {s} dollars in {A}'s {bank}.",
            "Then {he} gets {e} dollars for {work}. || {He} earns {e} more dollars for {work}.",
            "With the money {he} buys {a_toy} for {p} dollars. || {He} pays {p} dollars for {a_toy}.",
        ),
        ask="How many dollars does {A} have now? || How much money, in dollars, is left?",
        numbers={"s": (5, 40), "e": (3, 20), "p": (4, 30)},
        steps=("x = s + e : dollars", "y = x - p : dollars"),
        words={
            "bank": "money box|savings jar|wallet",
            "work": "washing the car|mowing the lawn|walking the dog",
            "toy": "ball|kite|umbrella|puzzle|album",
        },
        noise=(Noise("{B} has {d} dollars.", 2, 40),),
    ),
    Story(
        tell=(
            "{A} is reading a {book} that has {t} pages. || {A}'s {book} has {t} pages.",
            "Every {day} {he} reads {p} pages. || {He} reads {p} pages each {day}.",
        ),
        ask="How many pages are left after {d_} {day}s? || After {d_} {day}s, how many pages must {A} still read?",
        numbers={"t": (20, 60), "p": (3, 12), "d_": (2, 8)},
        steps=("x = p * d_ : pages", "y = t - x : pages"),
        words={"book": "novel|comic book|book about whales", "day": "day|evening|night"},
        noise=(Noise("The library has {d} other books about this.", 3, 30),),
    ),
    Story(
        tell=(
            "The {hall} has {r} rows of chairs, with {k} chairs in each row. || "
            "In the {hall} there are {r} rows of {k} chairs.",
            "Tonight {g} guests come, and each guest takes one chair. || {g} people sit down, one on each chair.",
        ),
        ask="How many chairs stay empty? || How many chairs are still free?",
        numbers={"r": (3, 10), "k": (3, 10), "g": (5, 60)},
        steps=("x = r * k : chairs", "y = x - g : empty chairs"),
        words={"hall": "school hall|theater|concert hall|town hall"},
        noise=(Noise("The show lasts {d} minutes.", 20, 90),),
    ),
    Story(
        tell=(
            "{A} has {n} {sweets}. || There are {n} {sweets} on {A}'s desk.",
            "{B} gives {him} {m} more. || Then {he} gets {m} more from {B}.",
            "{He} shares all of them equally among {f} friends. || {f} friends get equal shares of them all.",
        ),
        ask="How many {sweets} does each friend get?",
        numbers={"n": (4, 40), "m": (3, 30), "f": (2, 9)},
        steps=("x = n + m : {sweets}", "y = x / f : {sweets}"),
        words={"sweets": "candies|marbles|stickers|nuts"},
    ),
    Story(
        tell=(
            "~One {pen} costs {p} dollars. || The price of one {pen} is {p} dollars.",
            "~One {map} costs {q} dollars. || For one {map} the shop asks {q} dollars.",
            "{A} buys {n} {pens} and one {map}. || {A} needs one {map} and {n} {pens}.",
        ),
        ask="How many dollars does {A} pay in all? || What does {A} pay altogether, in dollars?",
        numbers={"p": (2, 9), "q": (3, 30), "n": (2, 9)},
        steps=("x = p * n : dollars", "y = x + q : dollars"),
        words={"pen/pens": "pen/pens|brush/brushes|notebook/notebooks", "map": "map|globe|calendar|lamp"},
        noise=(Noise("The shop sells {d} kinds of paper.", 3, 20),),
    ),
    Story(
        tell=(
            "{A} buys {n} {tickets} that cost {p} dollars each. || {A} buys {n} {tickets}, and each costs {p} dollars.",
            "{He} pays with {f} dollars. || {He} hands over {f} dollars.",
        ),
        ask="How many dollars does {A} get back? || How much change, in dollars, does {A} get?",
        numbers={"n": (2, 9), "p": (2, 12), "f": (10, 60)},
        steps=("x = n * p : dollars", "y = f - x : dollars"),
        words={"tickets": "movie tickets|sandwiches|postcards|cups of tea"},
        noise=(Noise("{B} waits outside for {d} minutes.", 5, 30),),
    ),
    Story(
        tell=(
            "A {bus} leaves with {n} people on it. || There are {n} people on a {bus}.",
            "At the first stop {a} people get off. || Soon {a} people leave the {bus}.",
            "At the next stop {b} people get on. || Then {b} new people get on.",
        ),
        ask="How many people are on the {bus} now?",
        numbers={"n": (10, 60), "a": (3, 40), "b": (2, 40)},
        steps=("x = n - a : people", "y = x + b : people"),
        words={"bus": "bus|tram|ferry|train"},
        noise=(Noise("The {bus} is {d} meters long.", 10, 50),),
    ),
    Story(
        tell=(
            "{A} has {n} {cards}. || {A}'s collection holds {n} {cards}.",
            "{B} has {t} times as many {cards} as {A}. || {B} owns {t} times as many.",
        ),
        ask="How many {cards} do the two have together? || How many {cards} do {A} and {B} have in all?",
        numbers={"n": (3, 20), "t": (2, 5)},
        steps=("x = n * t : {cards}", "y = n + x : {cards}"),
        words={"cards": "stamps|shells|coins|picture cards|toy cars"},
        noise=(Noise("{C} lost {d} {cards} last year.", 2, 30),),
    ),
    Story(
        tell=(
            "On {A}'s farm, {h} hens lay {e} eggs each. || {A} has {h} hens, and each of them has laid {e} eggs.",
            "The eggs are packed in boxes of {c}. || {He} puts {c} eggs in each box.",
        ),
        ask="How many boxes can {A} fill? || How many boxes does that make?",
        numbers={"h": (3, 15), "e": (2, 9), "c": (2, 12)},
        steps=("x = h * e : eggs", "y = x / c : boxes"),
        noise=(Noise("A box of eggs sells for {d} dollars.", 2, 9), Noise("The farm has {d} goats too.", 2, 20)),
    ),
)

_THREE = (
    Story(
        tell=(
            "{A} buys {n} {cakes} at {p} dollars each. || {n} {cakes} at {p} dollars each are on {A}'s list.",
            "{He} also buys {m} {drinks} at {q} dollars each. || {m} {drinks} at {q} dollars each come with them.",
        ),
        ask="How many dollars does {A} spend in all? || What is the whole price, in dollars?",
        numbers={"n": (2, 9), "p": (2, 9), "m": (2, 9), "q": (2, 9)},
        steps=("x = n * p : dollars", "y = m * q : dollars", "z = x + y : dollars"),
        words={"cakes": "cakes|pies|pizzas", "drinks": "bottles of juice|cups of coffee|cans of soup"},
        noise=(Noise("The café opened {d} years ago.", 2, 40),),
    ),
    Story(
        tell=(
            "{A} bakes {t} trays of {cookies}, with {k} on each tray. || "
            "{t} trays come out of {A}'s oven, with {k} {cookies} on each.",
            "{b} of the {cookies} burn. || Sadly, {b} {cookies} are burnt.",
            "{He} puts the good ones into bags of {c}. || The good ones go into bags, {c} in each.",
        ),
        ask="How many bags does {A} fill?",
        numbers={"t": (2, 9), "k": (4, 12), "b": (2, 15), "c": (2, 9)},
        steps=("x = t * k : {cookies}", "y = x - b : good {cookies}", "z = y / c : bags"),
        words={"cookies": "cookies|muffins|rolls|tarts"},
        noise=(Noise("The oven needs {d} minutes to get hot.", 5, 20),),
    ),
    Story(
        tell=(
            "A farmer has {c} {cows} and {s} {sheep}. || On a farm live {s} {sheep} and {c} {cows}.",
            "{k} of these animals are sold. || Then {k} of the animals go to another farm.",
            "Each animal has four legs.",
        ),
        ask="How many legs do the animals that stay have?",
        numbers={"c": (2, 15), "s": (2, 15), "k": (2, 12)},
        steps=("x = c + s : animals", "y = x - k : animals", "z = y * 4 : legs"),
        words={"cows": "cows|horses|donkeys", "sheep": "sheep|goats|pigs"},
        noise=(Noise("The barn has {d} windows.", 2, 12),),
    ),
    Story(
        tell=(
            "{A} wants {a_bike} that costs {c} dollars. || {a_bike} costs {c} dollars, and {A} wants it.",
            "~{He} already has {s} dollars. || {A} has saved {s} dollars so far.",
            "~{B} gives {A} {g} dollars. || As a present, {A} gets {g} dollars from {B}.",
            "From now on {A} saves {w} dollars each week. || Each week {A} can save {w} dollars more.",
        ),
        ask="How many weeks does {A} have to save? || After how many weeks does {A} have enough?",
        numbers={"c": (20, 60), "s": (5, 30), "g": (5, 30), "w": (2, 10)},
        steps=("x = s + g : dollars", "y = c - x : dollars", "z = y / w : weeks"),
        words={"bike": "bike|tent|guitar|electric train|old piano"},
        noise=(Noise("The shop is {d} kilometers away.", 2, 12),),
    ),
    Story(
        tell=(
            "In {A}'s class there are {b} boys and {g} girls. || {A}'s class has {g} girls and {b} boys.",
            "Today {k} of the children are ill. || {k} children are at home with a cold.",
            "The others form teams of {t} for {a_game}. || For {a_game} the others make teams of {t}.",
        ),
        ask="How many teams are there?",
        numbers={"b": (5, 18), "g": (5, 18), "k": (2, 8), "t": (2, 6)},
        steps=("x = b + g : children", "y = x - k : children", "z = y / t : teams"),
        words={"game": "relay race|quiz|obstacle course|ball game"},
        noise=(Noise("The game takes {d} minutes.", 20, 45),),
    ),
    Story(
        tell=(
            "On Monday {A} {did} {p} {pages}. || {A} {did} {p} {pages} on Monday.",
            "On Tuesday {he} {did} {m} {pages} more than on Monday. || "
            "On Tuesday it was {m} {pages} more than on Monday.",
            "On Wednesday {he} {did} {w}. || {He} {did} {w} {pages} on Wednesday.",
        ),
        ask="How many {pages} was that in the three days? || How many {pages} is that in all?",
        numbers={"p": (4, 25), "m": (2, 15), "w": (2, 20)},
        steps=("x = p + m : {pages}", "y = p + x : {pages}", "z = y + w : {pages}"),
        words={"did/pages": "read/pages|wrote/lines|solved/puzzles|learned/words"},
        noise=(Noise("{B} needs {d} days for the same.", 4, 9),),
    ),
    Story(
        tell=(
            "~{A} {runs} {k} kilometers on each of {d_} days. || On {d_} days {A} {runs} {k} kilometers each day.",
            "~{B} {runs} {m} kilometers on each of {e} days. || On {e} days {B} {runs} {m} kilometers each day.",
        ),
        ask="How many more kilometers does {A} cover than {B}?",
        numbers={"k": (3, 12), "d_": (2, 7), "m": (2, 9), "e": (2, 7)},
        steps=("x = k * d_ : kilometers", "y = m * e : kilometers", "z = x - y : kilometers"),
        words={"runs": "runs|walks|cycles|skates"},
        noise=(Noise("{A} wears shoes of size {d}.", 35, 44),),
    ),
    Story(
        tell=(
            "In spring {A} plants {r} rows of {tulips}, {k} in each row. || "
            "{A}'s garden has {r} rows with {k} {tulips} in each.",
            "Beside them {he} plants {s} {roses}. || {s} {roses} grow there too.",
            "In a hot week, {w} of the flowers die. || {w} of all these flowers dry up.",
        ),
        ask="How many flowers are left? || How many flowers does {A} still have?",
        numbers={"r": (2, 9), "k": (3, 9), "s": (3, 20), "w": (2, 20)},
        steps=("x = r * k : {tulips}", "y = x + s : flowers", "z = y - w : flowers"),
        words={"tulips": "tulips|lilies|daisies", "roses": "roses|sunflowers|violets"},
        noise=(Noise("The garden is {d} meters wide.", 5, 30),),
    ),
    Story(
        tell=(
            "{B} is {n} years old.",
            "{A} is {t} times as old as {B}. || {A}'s age is {t} times that of {B}.",
            "{C} is {m} years younger than {A}. || {A} is {m} years older than {C}.",
        ),
        ask="How old are {B} and {C} together? || What is the sum of the ages of {B} and {C}?",
        numbers={"n": (3, 14), "t": (2, 5), "m": (2, 15)},
        steps=("x = n * t : years", "y = x - m : years", "z = y + n : years"),
        noise=(Noise("{A} lives {d} streets from {B}.", 2, 9),),
    ),
    Story(
        tell=(
            "{A} earns {p} dollars an hour {at_work}. || For an hour {at_work}, {A} gets {p} dollars.",
            "~On Saturday {A} works {h} hours. || {A} works {h} hours on Saturday.",
            "~On Sunday {A} works {k} hours. || {A} works {k} hours on Sunday.",
            "Of this money {he} spends {s} dollars on a present. || {He} buys a present for {s} dollars of it.",
        ),
        ask="How many dollars are left? || How much of the money, in dollars, does {A} keep?",
        numbers={"p": (4, 12), "h": (2, 6), "k": (2, 5), "s": (3, 30)},
        steps=("x = h + k : hours", "y = x * p : dollars", "z = y - s : dollars"),
        words={"at_work": "in a bakery|at a car wash|in a flower shop"},
        noise=(Noise("{B} has worked there for {d} years.", 2, 20),),
    ),
)

_FOUR = (
    Story(
        tell=(
            "{A} sells {n} cups of {lemonade} in the morning and {m} in the afternoon. || "
            "In the morning {A} sells {n} cups of {lemonade}, and in the afternoon {m} more.",
            "Each cup costs {p} dollars. || {He} asks {p} dollars for each cup.",
            "For this {he} has bought fruit for {l} dollars and sugar for {s} dollars. || "
            "The fruit cost {him} {l} dollars, and the sugar {s} dollars.",
        ),
        ask="How many dollars of profit does {A} make? || After paying for fruit and sugar, how many dollars are left?",
        numbers={"n": (3, 15), "m": (3, 15), "p": (2, 4), "l": (2, 12), "s": (2, 9)},
        steps=(
            "x = n + m : cups",
            "y = x * p : dollars",
            "z = l + s : dollars",
            "w = y - z : dollars",
        ),
        words={"lemonade": "lemonade|fruit tea|iced juice"},
        noise=(Noise("The table is {d} feet long.", 3, 8),),
    ),
    Story(
        tell=(
            "There are {r} shelves with {k} {books} each in {A}'s {shop}. || "
            "{A}'s {shop} has {r} shelves, and on each of them are {k} {books}.",
            "In May, {l} {books} are given away, and {b} new ones arrive. || "
            "Then {l} {books} leave, and {b} new ones come in.",
            "At the end {A} packs all {books} into boxes of {c}. || All {books} are then packed, {c} in each box.",
        ),
        ask="How many boxes are needed? || How many boxes does {A} need?",
        numbers={"r": (2, 9), "k": (4, 12), "l": (2, 20), "b": (2, 20), "c": (2, 9)},
        steps=(
            "x = r * k : {books}",
            "y = x - l : {books}",
            "z = y + b : {books}",
            "w = z / c : boxes",
        ),
        words={"books": "books|records|board games", "shop": "club room|shop|school"},
        noise=(Noise("A box weighs {d} kilograms.", 3, 12),),
    ),
    Story(
        tell=(
            "{A} has {n} {beads}.",
            "{B} has {t} times as many {beads} as {A}. || {B} has {t} times as many.",
            "{C} has {m} {beads} fewer than {B}. || {B} has {m} {beads} more than {C}.",
        ),
        ask="How many {beads} do all three have together? || How many {beads} is that for the three of them in all?",
        numbers={"n": (3, 15), "t": (2, 4), "m": (2, 15)},
        steps=(
            "x = n * t : {beads}",
            "y = x - m : {beads}",
            "z = n + x : {beads}",
            "w = z + y : {beads}",
        ),
        words={"beads": "beads|feathers|pebbles|badges"},
        noise=(Noise("{A} found a box with {d} old buttons.", 5, 50),),
    ),
    Story(
        tell=(
            "{a} adults and {k} children come to {A}'s party. || At {A}'s party there are {k} children and {a} adults.",
            "~Each adult eats {p} slices of {pizza}. || The adults eat {p} slices of {pizza} each.",
            "~Each child eats {q} slices of {pizza}. || The children eat {q} slices of {pizza} each.",
            "One {pizza} is cut into {s} slices. || There are {s} slices in one {pizza}.",
        ),
        ask="How many {pizzas} do they eat? || How many {pizzas} does {A} need?",
        numbers={"a": (2, 9), "k": (2, 9), "p": (2, 5), "q": (2, 5), "s": (4, 12)},
        steps=(
            "x = a * p : slices",
            "y = k * q : slices",
            "z = x + y : slices",
            "w = z / s : {pizzas}",
        ),
        words={"pizza/pizzas": "pizza/pizzas|cake/cakes|melon/melons"},
        noise=(Noise("The party lasts {d} hours.", 2, 6),),
    ),
    Story(
        tell=(
            "{A} has {t} kilometers to go {by}. || {A} makes a trip of {t} kilometers {by}.",
            "In each of the first {h} hours {he} covers {a} kilometers. || "
            "For {h} hours {he} makes {a} kilometers an hour.",
            "Then it gets hilly, and for {k} hours {he} makes {b} kilometers an hour. || "
            "After that {he} is tired: {b} kilometers an hour for {k} hours.",
        ),
        ask="How many kilometers are left?",
        numbers={"t": (30, 60), "h": (2, 5), "a": (8, 15), "k": (2, 4), "b": (4, 9)},
        steps=(
            "x = h * a : kilometers",
            "y = k * b : kilometers",
            "z = x + y : kilometers",
            "w = t - z : kilometers",
        ),
        words={"by": "by bike|on horseback|by canoe"},
        noise=(Noise("{His} bag weighs {d} kilograms.", 4, 15),),
    ),
    Story(
        tell=(
            "{A} has {n} tanks with {k} {fish} in each. || {n} tanks stand in {A}'s shop, with {k} {fish} in each.",
            "{He} gets {m} new {fish}, and sells {s}. || {m} {fish} arrive, and {s} are sold.",
            "Then {he} puts all that are there into {t} large tanks, the same number in each. || "
            "After that, all that are there swim in {t} large tanks, the same number in each.",
        ),
        ask="How many {fish} are in each large tank?",
        numbers={"n": (2, 9), "k": (3, 12), "m": (3, 20), "s": (2, 25), "t": (2, 6)},
        steps=(
            "x = n * k : {fish}",
            "y = x + m : {fish}",
            "z = y - s : {fish}",
            "w = z / t : {fish}",
        ),
        words={"fish": "fish|snails|shrimps"},
        noise=(Noise("A tank holds {d} liters of water.", 20, 90),),
    ),
    Story(
        tell=(
            "In {a_game} game, {A} scores {a} times for two points and {b} times for three points. || "
            "{A} plays in {a_game} game, with {a} shots for two points and {b} shots for three points.",
            "{B} scores {k} points fewer than {A}. || {A} scores {k} points more than {B}.",
        ),
        ask="How many points does {B} score?",
        numbers={"a": (2, 12), "b": (2, 9), "k": (2, 20)},
        steps=(
            "x = a * 2 : points",
            "y = b * 3 : points",
            "z = x + y : points",
            "w = z - k : points",
        ),
        words={"game": "basketball|evening|important|school"},
        noise=(Noise("The team has {d} players.", 8, 15),),
    ),
    Story(
        tell=(
            "For {w} weeks {A} gets {p} dollars a week from {relative}. || "
            "{A} gets {p} dollars a week from {relative}, and keeps all of it for {w} weeks.",
            "Half of this money goes to {a_toy}. || {He} pays half of this money for {a_toy}.",
            "Then {he} buys {drink} for {s} dollars. || After that {he} spends {s} dollars on {drink}.",
            "The next day {he} finds {g} dollars in a coat. || A day later {B} gives {him} {g} dollars.",
        ),
        ask="How many dollars does {A} have in the end?",
        numbers={"w": (2, 9), "p": (2, 12), "s": (2, 9), "g": (2, 12)},
        steps=(
            "x = w * p : dollars",
            "y = x / 2 : dollars",
            "z = y - s : dollars",
            "v = z + g : dollars",
        ),
        words={
            "relative": "an uncle|a grandmother|an aunt",
            "toy": "game|dictionary|drum|old camera",
            "drink": "ice cream|sweets|flowers",
        },
        noise=(Noise("{B} gets {d} dollars a week.", 2, 12),),
    ),
)

STORIES = (*_TWO, *_THREE, *_FOUR)
